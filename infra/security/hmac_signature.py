"""Signs and verifies webhook bodies with HMAC-SHA256, and reads signature headers strictly.

A signature covers the bytes as they were received; a body that was parsed and serialized again
has other bytes. Comparisons take constant time, and a verifier raises nothing but
``InvalidSignature``, whatever an anonymous sender puts into its headers.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

SignatureCheckName = Literal["headers", "signature", "timestamp"]

HEX_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """What a valid signature says.

    ``delivery`` is the sender's id of the delivery, None where it sends none. ``slot`` numbers the
    secret that matched, from 1 (the newest). ``skew`` is how many seconds our clock was ahead of
    the signed time, None where no time is signed.
    """

    delivery: str | None
    slot: int
    skew: float | None = None


class InvalidSignature(Exception):
    """A webhook has no valid signature; ``reason`` is for logs, never for the sender.

    ``check`` is the first one that fails: ``headers`` (one is missing or malformed), ``signature``
    or ``timestamp``. ``slot`` and ``skew``, as in ``VerifiedSignature``, are known where only the
    time is wrong.
    """

    def __init__(
        self,
        reason: str,
        *,
        check: SignatureCheckName = "headers",
        slot: int | None = None,
        skew: float | None = None,
    ) -> None:
        """Keep the reason, which holds no secrets and none of the sender's input."""
        super().__init__(reason)
        self.reason = reason
        self.check = check
        self.slot = slot
        self.skew = skew


def read_signature_headers(headers: Mapping[str, str], *names: str) -> list[str]:
    """Return the values of lower-case ``names``, each of which must occur exactly once.

    The case of header names is ignored. Two values for one name are rejected, because proxies
    disagree on which of them counts. Raises ``InvalidSignature``.
    """
    found: dict[str, list[str]] = {name: [] for name in names}
    for name, value in headers.items():
        values = found.get(name.lower())
        if values is not None:
            values.append(value)
    for name, values in found.items():
        if len(values) != 1:
            raise InvalidSignature(f"{name} {'is missing' if not values else 'occurs twice'}")
    return [values[0] for values in found.values()]


def hmac_sha256(key: bytes, content: bytes) -> bytes:
    """Compute HMAC-SHA256 (RFC 2104): 32 bytes."""
    return hmac.digest(key, content, hashlib.sha256)


def sign_body(secret: str, body: bytes) -> str:
    """Sign a raw body with a secret's UTF-8 bytes; returns 64 lower-case hexadecimal digits."""
    return hmac_sha256(secret.encode(errors="surrogatepass"), body).hex()


def verify_body(signature: str, body: bytes, secrets: Sequence[str]) -> int:
    """Check a signature made by ``sign_body``; returns which of ``secrets`` matches, from 1.

    All are tried, so that the time does not reveal which one matched; an empty secret never
    matches. Raises ``InvalidSignature``.
    """
    if not HEX_SHA256.fullmatch(signature):
        raise InvalidSignature("the signature is not 64 lower-case hexadecimal digits")
    given = bytes.fromhex(signature)
    matches = [
        hmac.compare_digest(given, hmac_sha256(secret.encode(errors="surrogatepass"), body))
        and bool(secret)
        for secret in secrets
    ]
    if True not in matches:
        raise InvalidSignature("the signature matches no secret", check="signature")
    return matches.index(True) + 1
