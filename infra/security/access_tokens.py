"""Signs access tokens (JWT) in the auth worker and verifies them elsewhere, with public keys.

RFC 9068 (``typ: at+jwt``) under the rules of RFC 8725: one algorithm (EdDSA over Ed25519),
which no token can choose; ``kid`` only selects one of the configured keys; a header that
carries a key or points to one is rejected; every claim is required and checked.
The ``kid`` is the key's RFC 7638 thumbprint, so it needs no configuration: list a new public
key first, sign with it later, and drop the old one when its last token has expired
(``adrelay keys rotate``; ``infra.security.key_rotation``).
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, get_args
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra import metrics
from infra.base64url import KeyPair, decode_key, encode_base64url
from infra.settings import Settings
from schemas.scopes import ALL_SCOPES, format_scopes
from schemas.users import Role, User

ALGORITHM = "EdDSA"
JWT_TYPE = "at+jwt"
HEADER_FIELDS = {"alg", "kid", "typ"}
REQUIRED_CLAIMS = ["exp", "iat", "nbf", "aud", "iss", "sub", "jti", "scope"]
ROLES: tuple[Role, ...] = get_args(Role)
LEEWAY_SECONDS = 5  # most difference between the clocks of two processes
MAX_TOKEN_LENGTH = 2048  # characters; a token that is signed here has about 650
COMPACT_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
JWKS_MAX_AGE_SECONDS = 300  # Cache-Control of the public keys
CACHED_TOKENS = 4096  # a client sends the same token until it expires


class InvalidToken(Exception):
    """The token was not signed with a configured key, was altered or is not valid now.

    The message never quotes it.
    """


@dataclass(frozen=True, slots=True)
class AccessTokenClaims:
    """The account, session and scopes of a verified access token."""

    user_id: UUID
    role: Role
    session_id: str
    scopes: frozenset[str]


def make_signing_keys() -> KeyPair:
    """Make a signing key (Ed25519 seed) and its public key, in the format of the settings."""
    private = Ed25519PrivateKey.generate()
    return KeyPair(
        encode_base64url(private.private_bytes_raw()),
        encode_base64url(private.public_key().public_bytes_raw()),
    )


def public_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    """Build the JWK of a public key (RFC 8037); its ``kid`` is its RFC 7638 thumbprint."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": encode_base64url(key.public_bytes_raw())}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    kid = encode_base64url(sha256(canonical.encode()).digest())
    return {**members, "kid": kid, "alg": ALGORITHM, "use": "sig"}


class TokenSigner:
    """Signs access tokens; only the auth worker holds the private key.

    Of several keys the first one signs; another is there for the next step of a rotation.
    """

    def __init__(self, settings: Settings) -> None:
        """Parse the private key; ``public`` is its public key (base64url).

        Raises ``ValueError`` when ``TOKEN_SIGNING_KEY`` is missing or malformed.
        """
        secret = settings.token_signing_key
        texts = (secret.get_secret_value() if secret else "").split() or [""]
        seed, *_ = [decode_key(text, "TOKEN_SIGNING_KEY") for text in texts]
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._header = {"kid": public_jwk(self._key.public_key())["kid"], "typ": JWT_TYPE}
        self._settings = settings
        self.public = encode_base64url(self._key.public_key().public_bytes_raw())

    def sign(self, user: User, session_id: str) -> str:
        """Build an access token for ``user``, valid for ``access_token_seconds``."""
        now = int(time.time())
        claims = {
            "iss": self._settings.issuer,
            "aud": self._settings.audience,
            "sub": str(user.id),
            "role": user.role,
            "scope": format_scopes(user.role),
            "sid": session_id,
            "iat": now,
            "nbf": now,
            "exp": now + self._settings.access_token_seconds,
            "jti": uuid4().hex,
        }
        return jwt.encode(claims, self._key, ALGORITHM, headers=self._header)


class TokenVerifier:
    """Verifies access tokens with the public keys of the settings, without a network call."""

    def __init__(self, settings: Settings) -> None:
        """Parse the public keys; raises ``ValueError`` for a malformed one."""
        raw = [decode_key(text, "TOKEN_VERIFY_KEYS") for text in settings.token_verify_keys]
        keys = [Ed25519PublicKey.from_public_bytes(one) for one in raw]
        self._jwks = {jwk["kid"]: jwk for jwk in map(public_jwk, keys)}
        self._keys = {public_jwk(key)["kid"]: key for key in keys}
        self._settings = settings
        self._read_cached = lru_cache(CACHED_TOKENS)(self._read)

    def jwks(self) -> dict[str, Any]:
        """Build the JWK set of the public keys (RFC 7517, section 5)."""
        return {"keys": list(self._jwks.values())}

    def verify(self, token: str) -> AccessTokenClaims:
        """Return the principal of a token; raises ``InvalidToken``."""
        if len(token) > MAX_TOKEN_LENGTH or not COMPACT_JWT.fullmatch(token):
            raise InvalidToken("not a compact JWT")
        claims, expires_at = self._read_cached(token)
        if time.time() >= expires_at + LEEWAY_SECONDS:
            raise InvalidToken("the token has expired")
        return claims

    @metrics.TOKEN_SECONDS.time()
    def _read(self, token: str) -> tuple[AccessTokenClaims, int]:
        try:
            key = self._find_key(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": REQUIRED_CLAIMS, "strict_aud": True},
            )
        except jwt.PyJWTError as error:
            raise InvalidToken(f"refused: {type(error).__name__}") from None
        return _parse_claims(claims), int(claims["exp"])

    def _find_key(self, header: Mapping[str, Any]) -> Ed25519PublicKey:
        """Find the key of a header that has exactly three fields (RFC 8725, 3.1 and 3.10)."""
        if header.keys() != HEADER_FIELDS or (header["alg"], header["typ"]) != (
            ALGORITHM,
            JWT_TYPE,
        ):
            raise InvalidToken("the header is not that of an access token")
        key = self._keys.get(header["kid"])
        if key is None:
            raise InvalidToken("the kid names no known key")
        return key


def derive_public_key(private: str) -> str:
    """Derive the public key (base64url) of a seed; raises ``ValueError`` for a malformed one."""
    key = Ed25519PrivateKey.from_private_bytes(decode_key(private, "TOKEN_SIGNING_KEY"))
    return encode_base64url(key.public_key().public_bytes_raw())


def _parse_claims(claims: Mapping[str, Any]) -> AccessTokenClaims:
    role, session_id, scope = claims.get("role"), claims.get("sid"), claims["scope"]
    if role not in ROLES or not isinstance(session_id, str) or not session_id:
        raise InvalidToken("role or session is missing")
    if not isinstance(scope, str) or not ALL_SCOPES.issuperset(scope.split(" ")):
        raise InvalidToken("the scope is unknown")
    try:
        return AccessTokenClaims(UUID(claims["sub"]), role, session_id, frozenset(scope.split(" ")))
    except ValueError:
        raise InvalidToken("the subject is no account id") from None
