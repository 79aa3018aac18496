"""Tests access tokens, with the attacks of RFC 8725 as a table."""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from typing import Any, get_args
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client import REGISTRY

from infra.base64url import decode_base64url, encode_base64url
from infra.security.access_tokens import (
    InvalidToken,
    TokenSigner,
    TokenVerifier,
    make_signing_keys,
    public_jwk,
)
from infra.settings import Settings
from schemas.scopes import ALL_SCOPES, ROLE_SCOPES
from schemas.users import Role, User

PAIR = make_signing_keys()
OTHER = make_signing_keys()
KEY = Ed25519PrivateKey.from_private_bytes(decode_base64url(PAIR.private))
FOREIGN = Ed25519PrivateKey.from_private_bytes(decode_base64url(OTHER.private))
KID = public_jwk(KEY.public_key())["kid"]
SETTINGS = Settings.model_validate(
    {"token_signing_key": PAIR.private, "token_verify_keys": (PAIR.public,)}
)
USER = User(id=uuid4(), email="ada@example.com", role="manager")


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {
        "iss": SETTINGS.issuer,
        "aud": SETTINGS.audience,
        "sub": str(USER.id),
        "role": "manager",
        "scope": "account campaigns:read",
        "sid": "s1",
        "iat": now,
        "nbf": now,
        "exp": now + 900,
        "jti": "j1",
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def token(
    key: Any = KEY, alg: str = "EdDSA", header: dict[str, Any] | None = None, **changes: Any
) -> str:
    head = {"kid": KID, "typ": "at+jwt", **(header or {})}
    head = {name: value for name, value in head.items() if value is not None}
    return jwt.encode(claims(**changes), key, alg, headers=head)


def by_hand(header: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    parts = [encode_base64url(json.dumps(part).encode()) for part in (header, claims())]
    signed = ".".join(parts).encode()
    return f"{signed.decode()}.{encode_base64url(sign(signed)) or 'AA'}"


def hs256(secret: bytes) -> str:
    head = {"alg": "HS256", "kid": KID, "typ": "at+jwt"}
    return by_hand(head, lambda signed: hmac.digest(secret, signed, hashlib.sha256))


def untyped() -> str:
    return by_hand({"alg": "EdDSA", "kid": KID}, KEY.sign)


def flipped(part: int, bit: int) -> str:
    parts = token().split(".")
    raw = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
    raw[bit // 8] ^= 1 << bit % 8
    parts[part] = encode_base64url(bytes(raw))
    return ".".join(parts)


NOW = int(time.time())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
JWK = json.dumps(public_jwk(KEY.public_key())).encode()
FOREIGN_JWK = public_jwk(FOREIGN.public_key())
ATTACKS = {
    "no algorithm at all": by_hand({"alg": "none", "kid": KID, "typ": "at+jwt"}, lambda _: b""),
    "no algorithm, in capitals": by_hand({"alg": "NONE", "kid": KID, "typ": "at+jwt"}, KEY.sign),
    "another spelling of the algorithm": by_hand(
        {"alg": "eddsa", "kid": KID, "typ": "at+jwt"}, KEY.sign
    ),
    "HMAC keyed with the raw public key": hs256(decode_base64url(PAIR.public)),
    "HMAC keyed with the public key's text": hs256(PAIR.public.encode()),
    "HMAC keyed with the public key's PEM": hs256(PEM),
    "HMAC keyed with the public key's JWK": hs256(JWK),
    "HMAC keyed with nothing": hs256(b""),
    "RSA with a key of its own": token(RSA, "RS256"),
    "RSA-PSS with a key of its own": token(RSA, "PS256"),
    "ECDSA with a key of its own": token(CURVE, "ES256"),
    "an RSA header over our signature": by_hand(
        {"alg": "RS256", "kid": KID, "typ": "at+jwt"}, KEY.sign
    ),
    "a key embedded in the header": token(FOREIGN, header={"jwk": FOREIGN_JWK}),
    "a key embedded in place of the kid": token(FOREIGN, header={"jwk": FOREIGN_JWK, "kid": None}),
    "a URL of keys in the header": token(FOREIGN, header={"jku": "https://evil.example/jwks"}),
    "a URL of a certificate in the header": token(
        FOREIGN, header={"x5u": "https://evil.example/c"}
    ),
    "a certificate in the header": token(FOREIGN, header={"x5c": ["MIIB"]}),
    "a thumbprint of a certificate in the header": token(header={"x5t#S256": "AAAA"}),
    "our signature over an unencoded payload": token(header={"b64": False, "crit": ["b64"]}),
    "our signature over a nested token": token(header={"cty": "JWT"}),
    "our signature over a compressed payload": token(header={"zip": "DEF"}),
    "our signature, but a critical extension": token(header={"crit": ["exp"], "exp": 1}),
    "our signature, but one header more": token(header={"jku": "https://evil.example/jwks"}),
    "a foreign key under our kid": token(FOREIGN),
    "a foreign key under its own kid": token(FOREIGN, header={"kid": FOREIGN_JWK["kid"]}),
    "a kid that is a path": token(FOREIGN, header={"kid": "../../dev/null"}),
    "an empty kid": token(FOREIGN, header={"kid": ""}),
    "a kid that goes on": token(header={"kid": KID + "A"}),
    "a kid with other padding": token(header={"kid": KID + "="}),
    "a kid that is no text": by_hand({"alg": "EdDSA", "kid": 1, "typ": "at+jwt"}, KEY.sign),
    "no kid": token(header={"kid": None}),
    "the type of another token": token(header={"typ": "JWT"}),
    "the type of a logout token": token(header={"typ": "logout+jwt"}),
    "no type": untyped(),
    "expired": token(iat=NOW - 1000, nbf=NOW - 1000, exp=NOW - 60),
    "not valid yet": token(nbf=NOW + 86_400),
    "issued in the future": token(iat=NOW + 86_400),
    "no exp": token(exp=None),
    "no iat": token(iat=None),
    "no nbf": token(nbf=None),
    "no jti": token(jti=None),
    "no sub": token(sub=None),
    "no iss": token(iss=None),
    "no aud": token(aud=None),
    "no role": token(role=None),
    "no session": token(sid=None),
    "no scope": token(scope=None),
    "an empty scope": token(scope=""),
    "a scope that does not exist": token(scope="account root"),
    "a scope in other letters": token(scope="Account"),
    "scopes that are a list": token(scope=["account"]),
    "scopes with two spaces between": token(scope="account  campaigns:read"),
    "an exp that is no number": token(exp="soon"),
    "another audience": token(aud="billing"),
    "several audiences": token(aud=["adrelay", "billing"]),
    "another issuer": token(iss="https://evil.example"),
    "a role that does not exist": token(role="root"),
    "a subject that is no account": token(sub="admin"),
    "a bit flipped in the header": flipped(0, 80),
    "a bit flipped in the claims": flipped(1, 200),
    "a bit flipped in the signature": flipped(2, 300),
    "the signature cut off": token().rpartition(".")[0] + ".",
    "the signature left away": token().rpartition(".")[0],
    "a padded signature": token() + "==",
    "a line end after the signature": token() + "\n",
    "claims that are no JSON": ".".join(
        [token().split(".")[0], encode_base64url(b"\xff"), token().split(".")[2]]
    ),
    "empty": "",
    "dots": "..",
    "five parts, as an encrypted token has": token() + ".AA.AA",
    "an opaque refresh token": encode_base64url(bytes(64)),
    "a refresh token with dots": ".".join([encode_base64url(bytes(21))] * 3),
    "an ID token of the same issuer": token(header={"typ": "id+jwt"}),
    "the type with its prefix": token(header={"typ": "application/at+jwt"}),
    "not ASCII": "é" * 40,
    "oversized": token(padding="x" * 5000),
    "deeply nested": encode_base64url(b"[" * 1000) + ".e30.AA",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_is_refused(attack: str) -> None:
    with pytest.raises(InvalidToken) as refusal:
        TokenVerifier(SETTINGS).verify(attack)
    assert not attack or attack not in str(refusal.value)


def test_the_table_starts_from_a_token_that_is_accepted() -> None:
    claims = TokenVerifier(SETTINGS).verify(token())
    assert (claims.user_id, claims.role, claims.session_id) == (USER.id, "manager", "s1")
    assert claims.scopes == {"account", "campaigns:read"}


def test_every_single_bit_counts() -> None:
    verifier = TokenVerifier(SETTINGS)
    genuine = token()
    for place, char in enumerate(genuine):
        changed = genuine[:place] + ("A" if char != "A" else "B") + genuine[place + 1 :]
        with pytest.raises(InvalidToken):
            verifier.verify(changed)


def test_what_the_signer_signs_the_verifier_accepts() -> None:
    claims = TokenVerifier(SETTINGS).verify(TokenSigner(SETTINGS).sign(USER, "session-1"))
    assert (claims.user_id, claims.session_id) == (USER.id, "session-1")


@pytest.mark.parametrize("role", get_args(Role))
def test_a_token_carries_the_scopes_of_its_role(role: Role) -> None:
    signed = TokenSigner(SETTINGS).sign(USER.model_copy(update={"role": role}), "s")
    assert TokenVerifier(SETTINGS).verify(signed).scopes == ROLE_SCOPES[role]
    text = jwt.decode(signed, options={"verify_signature": False})["scope"]
    assert text.split(" ") == sorted(ROLE_SCOPES[role])


def test_each_role_may_do_what_the_lesser_one_may() -> None:
    assert ROLE_SCOPES["viewer"] < ROLE_SCOPES["manager"] < ROLE_SCOPES["admin"] == ALL_SCOPES
    assert all(
        re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", scope) for scope in ALL_SCOPES
    )  # RFC 6749


def test_the_time_of_a_verification_is_measured_once_for_each_token() -> None:
    def measured() -> float:
        return REGISTRY.get_sample_value("adrelay_token_verification_seconds_count") or 0.0

    verifier, shown, before = TokenVerifier(SETTINGS), token(), measured()
    for _ in range(3):
        verifier.verify(shown)
    assert measured() == before + 1


def test_two_tokens_of_one_moment_differ() -> None:
    signer = TokenSigner(SETTINGS)
    assert signer.sign(USER, "s") != signer.sign(USER, "s")


def test_a_token_that_was_accepted_before_expires_all_the_same() -> None:
    verifier = TokenVerifier(SETTINGS)
    short = token(iat=NOW - 100, nbf=NOW - 100, exp=int(time.time()) - 3)
    verifier.verify(short)  # within the leeway
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            verifier.verify(short)
        except InvalidToken:
            return
        time.sleep(0.05)
    pytest.fail("an expired token was still accepted")


def test_keys_rotate_without_logging_anyone_out() -> None:
    both = SETTINGS.model_copy(update={"token_verify_keys": (OTHER.public, PAIR.public)})
    verifier = TokenVerifier(both)
    successor = Settings.model_validate({"token_signing_key": OTHER.private})
    for signer in (TokenSigner(SETTINGS), TokenSigner(successor)):
        assert verifier.verify(signer.sign(USER, "s")).user_id == USER.id


def test_the_key_id_is_the_thumbprint_of_rfc_8037() -> None:
    raw = decode_base64url("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    jwk = public_jwk(Ed25519PublicKey.from_public_bytes(raw))
    assert jwk["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_another_library_verifies_our_tokens_with_the_published_keys() -> None:
    published = jwt.PyJWKSet.from_dict(TokenVerifier(SETTINGS).jwks())
    read = jwt.decode(TokenSigner(SETTINGS).sign(USER, "s"), published[KID], audience="adrelay")
    assert read["sub"] == str(USER.id)


def test_the_published_keys_hold_nothing_private() -> None:
    (jwk,) = TokenVerifier(SETTINGS).jwks()["keys"]
    assert jwk.keys() == {"kty", "crv", "x", "kid", "alg", "use"}


def test_keys_are_read_from_the_environments_words() -> None:
    settings = Settings.model_validate({"token_verify_keys": f"{PAIR.public} {OTHER.public}"})
    assert settings.token_verify_keys == (PAIR.public, OTHER.public)


@pytest.mark.parametrize("bad", ["", "short", "!" * 43, PAIR.private + "AAAA"], ids=range(4))
def test_a_malformed_signing_key_is_named_but_not_quoted(bad: str) -> None:
    with pytest.raises(ValueError, match="token_signing_key") as refusal:
        TokenSigner(Settings.model_validate({"token_signing_key": bad}))
    assert not bad or bad not in str(refusal.value)


def test_a_key_pair_does_not_show_its_private_half() -> None:
    assert PAIR.private not in repr(PAIR)
