"""Tells by which door an event was accepted, and whether it came through the outbox.

The ingress names its door in a header: the route and the key or user, or the webhook source and
the slot of its secret. The headers count only on a message whose first publisher, as the broker
has validated it, is a user of Adrelay; of any other the door is that user.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from infra.messaging.headers import ACCEPTED, DOOR, OUTBOX

MAX_DOOR = 300  # characters
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_MICROS = 253_402_300_799_000_000  # the end of the year 9999
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
# Fields of the table of headers: a short string with its length, and the type of the value: a long
# string, or a signed integer of 8 bytes (AMQP 0-9-1, section 4.2.5.5).
DOOR_FIELD, OUTBOX_FIELD = (bytes((len(n),)) + n.encode() + b"S" for n in (DOOR, OUTBOX))
ACCEPTED_FIELD = bytes((len(ACCEPTED),)) + ACCEPTED.encode() + b"l"
MICROS = Struct(">q")


class Origin(NamedTuple):
    """The door; when it was accepted, and when an outbox row was written for it (UTC).

    ``accepted_at`` is None where it was not noted, ``outbox_at`` where the broker took it at once.
    """

    door: str
    accepted_at: datetime | None = None
    outbox_at: datetime | None = None


UNKNOWN = Origin("amqp")


def read_origin(user: str | None, header: bytes, internal: Collection[str]) -> Origin:
    """Read where a message came from, of its content header. Never raises.

    ``user`` is its first publisher. Users of Adrelay write nothing before these fields that a
    client has chosen but a valid trace context, which has no control characters: so the first
    occurrence of a field, with the length of its name before it, is the field.
    """
    if user is None:
        return UNKNOWN
    if user not in internal:
        return _name_user(user)
    door = _find_text(header, DOOR_FIELD)
    outbox_at = parse_stored_time(_find_text(header, OUTBOX_FIELD))
    accepted_at = _find_accepted(header) or outbox_at
    return Origin(door[:MAX_DOOR] if door else f"amqp user={user}", accepted_at, outbox_at)


@lru_cache(maxsize=64)
def _name_user(user: str) -> Origin:
    return Origin(f"amqp user={user}")


def _find_text(header: bytes, field: bytes) -> str | None:
    """Find the text of a field; None without one, or where it is not UTF-8."""
    at = header.find(field)
    if at < 0:
        return None
    start = at + len(field) + 4
    raw = header[start : start + int.from_bytes(header[start - 4 : start])]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _find_accepted(header: bytes) -> datetime | None:
    """Find when a message was accepted, to a microsecond; None without a plausible time."""
    at = header.find(ACCEPTED_FIELD) + len(ACCEPTED_FIELD)
    if at < len(ACCEPTED_FIELD) or at + MICROS.size > len(header):
        return None
    (micros,) = MICROS.unpack_from(header, at)
    return EPOCH + timedelta(microseconds=micros) if 0 < micros < MAX_MICROS else None


def parse_stored_time(value: object) -> datetime | None:
    """Parse an aware time since 2020 as UTC; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is not UTC:
            found = found.astimezone(UTC) if found.tzinfo else EPOCH
    except (ValueError, OverflowError):
        return None
    return found if found >= EARLIEST else None
