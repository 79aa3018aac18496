"""Creates and parses operation ids, which identify a write that was answered with 202.

    "op_" + base64url(owner: 16 bytes | unique: 16 bytes | MAC: 16 bytes)     67 characters

The id names its owner and carries a MAC, so ``GET /api/v1/operations/{id}`` answers
``pending`` before any worker has written a row, and 404 for an id that is forged or belongs
to another account. It is also the id of the event that carries the command, so the inbox
recognizes a repeated command; and the id of a campaign to be created is derived from it, so a
repeated command names the same campaign. 48 bytes are 64 characters of base64 without padding
or unused bits, so an operation has one spelling.
"""

import binascii
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from uuid import UUID

PREFIX = "op_"
PART_BYTES = 16  # bytes of each part
LENGTH = len(PREFIX) + 4 * PART_BYTES

OPERATION_ID_FORMAT = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{{4 * PART_BYTES}}}", re.ASCII)

_NO_OWNER = bytes(PART_BYTES)


@dataclass(frozen=True, slots=True)
class OperationId:
    """An operation id with a valid MAC; ``owner`` is the account it belongs to, if any."""

    text: str
    owner: UUID | None


def create_operation_id(key: bytes, owner: UUID | None, seed: bytes | None = None) -> str:
    """Create an operation id for ``owner``; the same ``seed`` gives the same id.

    Without a seed the id is random. A seed is hashed with ``key``, so the ids of another
    account's requests cannot be computed.
    """
    owner_bytes = owner.bytes if owner else _NO_OWNER
    unique = token_bytes(PART_BYTES) if seed is None else _hash(key, b"seed", owner_bytes + seed)
    return (
        PREFIX
        + urlsafe_b64encode(
            owner_bytes + unique + _hash(key, b"mac", owner_bytes + unique)
        ).decode()
    )


def idempotency_seed(method: str, path: str, idempotency_key: str) -> bytes:
    """Hash the request that an ``Idempotency-Key`` identifies; its owner is added later.

    The parts are separated by NUL, which none of them can contain.
    """
    return blake2b(f"{method}\0{path}\0{idempotency_key}".encode(), digest_size=32).digest()


def parse_operation_id(key: bytes, text: str) -> OperationId | None:
    """Parse an operation id; None when its MAC was not made with ``key``."""
    if len(text) != LENGTH or not text.startswith(PREFIX):
        return None
    try:
        raw = urlsafe_b64decode(text[len(PREFIX) :].encode("ascii"))
    except (binascii.Error, UnicodeEncodeError):
        return None
    # The decoder skips characters outside its alphabet and also reads "+" and "/".
    if urlsafe_b64encode(raw).decode() != text[len(PREFIX) :]:
        return None
    signed, mac = raw[: 2 * PART_BYTES], raw[2 * PART_BYTES :]
    if not hmac.compare_digest(mac, _hash(key, b"mac", signed)):
        return None
    owner = signed[:PART_BYTES]
    return OperationId(text, None if owner == _NO_OWNER else UUID(bytes=owner))


def has_operation_id_format(text: str) -> bool:
    """Tell whether a text has the format of an operation id; its MAC is not checked.

    A worker without the key uses it to tell operations from the events of upstream systems.
    """
    return OPERATION_ID_FORMAT.fullmatch(text) is not None


def derive_campaign_id(operation_id: str) -> UUID:
    """Derive the id of the campaign that an operation creates (a name-based UUID)."""
    digest = blake2b(operation_id.encode(), digest_size=PART_BYTES, person=b"adrelay.campaign")
    return UUID(bytes=digest.digest(), version=5)


def _hash(key: bytes, purpose: bytes, value: bytes) -> bytes:
    return blake2b(value, key=key[:64], digest_size=PART_BYTES, person=purpose).digest()
