"""Signs and verifies Standard Webhooks 1.0, with shared secrets (v1) and key pairs (v1a).

    webhook-id         constant over all attempts of one delivery; the idempotency key
    webhook-timestamp  of the attempt, in Unix seconds
    webhook-signature  "v1,<base64>" or "v1a,<base64>", several separated by spaces
    signed             <webhook-id>.<webhook-timestamp>.<body, byte for byte>

v1 is HMAC-SHA256 with a secret ``whsec_<base64 of 24 to 64 bytes>``; v1a is Ed25519 with
``whsk_`` (private: the seed of 32 bytes, or seed and public key, 64) and ``whpk_`` (public).
Source: the specification, spec/standard-webhooks.md of github.com/standard-webhooks, whose
recommendation that an id must not contain the separator "." is enforced here.

The grammar is strict: a decimal timestamp without sign, point, space or underscore
and canonical base64 only. The MAC is checked before the timestamp, so that only a sender who
holds a key learns anything about the clock of this server.
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from secrets import token_bytes

from nacl.exceptions import BadSignatureError

from infra.security.hmac_signature import (
    InvalidSignature,
    VerifiedSignature,
    hmac_sha256,
    read_signature_headers,
)
from infra.webhook_secrets import (
    KEY_BYTES,
    decode_base64,
    decode_private_key,
    decode_public_key,
    decode_shared_secret,
)

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

TOLERANCE_SECONDS = 300
# Printable ASCII without the separator; short enough to become an event id with an index.
ID_GRAMMAR = re.compile(r"[!-\-/-~]{1,180}")
TIMESTAMP_GRAMMAR = re.compile(r"[1-9][0-9]{0,11}")
# A sender that rotates its key signs twice; each signature costs a verification.
MAX_SIGNATURES = 16
SHA256_BYTES = 32
ED25519_BYTES = 64

SignatureCheck = Callable[[bytes, Sequence[bytes]], bool]


@dataclass(frozen=True, slots=True)
class Scheme:
    """A signature scheme: its identifier, a signature's size, and how keys are used.

    ``signer`` and ``verifier`` read a serialised key and raise ``ValueError`` when it is none.
    """

    identifier: str
    size: int
    signer: Callable[[str], Callable[[bytes], bytes]]
    verifier: Callable[[str], SignatureCheck]


def _hmac_signer(secret: str) -> Callable[[bytes], bytes]:
    key = decode_shared_secret(secret)
    return lambda content: hmac_sha256(key, content)


def _hmac_verifier(secret: str) -> SignatureCheck:
    key = decode_shared_secret(secret)

    def verify_hmac(content: bytes, signatures: Sequence[bytes]) -> bool:
        expected = hmac_sha256(key, content)
        return True in [hmac.compare_digest(expected, given) for given in signatures]

    return verify_hmac


def _ed25519_signer(secret: str) -> Callable[[bytes], bytes]:
    key = decode_private_key(secret)
    return lambda content: bytes(key.sign(content).signature)


def _ed25519_verifier(secret: str) -> SignatureCheck:
    key = decode_public_key(secret)

    def matches(content: bytes, signature: bytes) -> bool:
        try:
            key.verify(content, signature)
        except BadSignatureError:
            return False
        return True

    return lambda content, signatures: True in [matches(content, given) for given in signatures]


V1 = Scheme("v1", SHA256_BYTES, _hmac_signer, _hmac_verifier)
V1A = Scheme("v1a", ED25519_BYTES, _ed25519_signer, _ed25519_verifier)


def make_webhook_secret(scheme: Scheme) -> str:
    """Make a random secret for ``V1`` (``whsec_``) or a private key for ``V1A`` (``whsk_``)."""
    prefix = "whsec_" if scheme is V1 else "whsk_"
    return prefix + b64encode(token_bytes(KEY_BYTES)).decode()


def derive_webhook_public_key(secret: str) -> str:
    """Derive the ``whpk_`` key of a ``whsk_`` key; raises ``ValueError``."""
    return "whpk_" + b64encode(bytes(decode_public_key(secret))).decode()


def sign(
    scheme: Scheme, secrets: Sequence[str], delivery: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Build the three headers of one attempt, signed with each of ``secrets``.

    ``timestamp`` is in Unix seconds. Raises ``ValueError`` when a secret cannot sign.
    """
    content = f"{delivery}.{timestamp}.".encode() + body
    signatures = [scheme.signer(secret)(content) for secret in secrets]
    return {
        ID_HEADER: delivery,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: " ".join(
            f"{scheme.identifier},{b64encode(s).decode()}" for s in signatures
        ),
    }


def verify(
    scheme: Scheme,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[str],
    now: datetime,
) -> VerifiedSignature:
    """Verify a delivery with all ``secrets``; its id is the ``webhook-id``.

    ``now`` is aware. Signatures of other schemes and malformed secrets are ignored
    (``make_webhook_secret`` makes well-formed ones). Raises nothing but ``InvalidSignature``.
    """
    delivery, timestamp, header = read_signature_headers(
        headers, ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER
    )
    for name, value, grammar in (
        (ID_HEADER, delivery, ID_GRAMMAR),
        (TIMESTAMP_HEADER, timestamp, TIMESTAMP_GRAMMAR),
    ):
        if not grammar.fullmatch(value):
            raise InvalidSignature(f"the {name} is malformed")
    content = f"{delivery}.{timestamp}.".encode() + body
    signatures = _parse_signatures(scheme, header)
    if not signatures:
        raise InvalidSignature(f"{SIGNATURE_HEADER} has no {scheme.identifier} signature")
    matches = [check(content, signatures) for check in _verifiers(scheme, secrets)]
    if True not in matches:
        raise InvalidSignature("no signature matches a secret", check="signature")
    slot, skew = matches.index(True) + 1, now.timestamp() - int(timestamp)
    if abs(int(now.timestamp()) - int(timestamp)) > TOLERANCE_SECONDS:
        reason = "the webhook-timestamp is more than five minutes off"
        raise InvalidSignature(reason, check="timestamp", slot=slot, skew=skew)
    return VerifiedSignature(delivery, slot, skew)


def _parse_signatures(scheme: Scheme, header: str) -> list[bytes]:
    """Parse the well-formed signatures of ``scheme``; ignore the others."""
    found = []
    for part in header.split(" "):
        identifier, _, text = part.partition(",")
        if identifier == scheme.identifier:
            try:
                found.append(decode_base64(text, (scheme.size,)))
            except ValueError:
                continue
    if len(found) > MAX_SIGNATURES:
        raise InvalidSignature("there are too many signatures")
    return found


def _verifiers(scheme: Scheme, secrets: Sequence[str]) -> list[SignatureCheck]:
    """Make the check of each secret, in their order; nothing matches a malformed one."""
    found: list[SignatureCheck] = []
    for secret in secrets:
        try:
            found.append(scheme.verifier(secret))
        except ValueError:
            found.append(_match_nothing)
    return found


def _match_nothing(_content: bytes, _signatures: Sequence[bytes]) -> bool:
    return False
