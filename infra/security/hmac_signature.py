"""What every webhook signature rests on: one error, headers read strictly, HMAC over raw bytes.

A signature covers the bytes as they were received; a body that was parsed and written again
has other bytes. Everything compared here is compared in constant time, and a verifier never
raises anything but ``InvalidSignature``, whatever an anonymous sender puts into its headers.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

HEX_SHA256 = re.compile(r"[0-9a-f]{64}")


class InvalidSignature(Exception):
    """A webhook is not from whom it says; ``reason`` is for logs, never for the sender."""

    def __init__(self, reason: str) -> None:
        """Keep the reason: words of ours, without secrets and without the sender's input."""
        super().__init__(reason)
        self.reason = reason


def read_signature_headers(headers: Mapping[str, str], *names: str) -> list[str]:
    """Find the values of lower-case ``names``, each of which must be there exactly once.

    Names match whatever their case. Two values for one name are refused, because proxies
    disagree on which of them counts. Raises ``InvalidSignature``.
    """
    found: dict[str, list[str]] = {name: [] for name in names}
    for name, value in headers.items():
        values = found.get(name.lower())
        if values is not None:
            values.append(value)
    for name, values in found.items():
        if len(values) != 1:
            raise InvalidSignature(f"{name} is {'missing' if not values else 'there twice'}")
    return [values[0] for values in found.values()]


def hmac_sha256(key: bytes, content: bytes) -> bytes:
    """Compute HMAC-SHA256 (RFC 2104): 32 bytes."""
    return hmac.digest(key, content, hashlib.sha256)


def sign_body(secret: str, body: bytes) -> str:
    """Sign a raw body with a secret's UTF-8 bytes: 64 lower-case hexadecimal digits."""
    return hmac_sha256(secret.encode(errors="surrogatepass"), body).hex()


def verify_body(signature: str, body: bytes, secrets: Sequence[str]) -> None:
    """Check a signature made by ``sign_body`` against all ``secrets``, of which one must fit.

    All are tried, so that the time taken does not tell which one fitted; an empty secret
    never fits. Raises ``InvalidSignature``.
    """
    if not HEX_SHA256.fullmatch(signature):
        raise InvalidSignature("the signature is not 64 lower-case hexadecimal digits")
    given = bytes.fromhex(signature)
    matches = [
        hmac.compare_digest(given, hmac_sha256(secret.encode(errors="surrogatepass"), body))
        for secret in secrets
        if secret
    ]
    if True not in matches:
        raise InvalidSignature("the signature fits none of our secrets")
