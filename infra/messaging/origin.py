"""Tells by which door an event was accepted, and whether it came through the outbox.

The ingress names its door in a header: the route and the key or user, or the webhook source and
the slot of its secret. The headers count only on a message whose first publisher, as the broker
has validated it, is a user of Adrelay; of any other the door is that user.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.messaging.headers import ACCEPTED, DOOR, OUTBOX

MAX_DOOR = 300  # characters
UNKNOWN_DOOR = "amqp"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_MICROS = 253_402_300_799_000_000  # the end of the year 9999
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Origin:
    """The door; when it was accepted, and when an outbox row was written for it (UTC).

    ``accepted_at`` is None where it was not noted, ``outbox_at`` where the broker took it at once.
    """

    door: str
    accepted_at: datetime | None = None
    outbox_at: datetime | None = None


def read_origin(user: str | None, headers: Mapping[str, Any], internal: Collection[str]) -> Origin:
    """Read where a message came from; ``user`` is its first publisher. Never raises."""
    if user is None:
        return Origin(UNKNOWN_DOOR)
    door = f"amqp user={user}"
    if user not in internal:
        return Origin(door)
    named, outbox_at = headers.get(DOOR), parse_stored_time(headers.get(OUTBOX))
    return Origin(
        named[:MAX_DOOR] if isinstance(named, str) and named else door,
        _parse_micros(headers.get(ACCEPTED)) or outbox_at,
        outbox_at,
    )


def parse_stored_time(value: object) -> datetime | None:
    """Parse an aware time since 2020 as UTC; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo and found >= EARLIEST else None
    except (ValueError, OverflowError):
        return None


def _parse_micros(value: object) -> datetime | None:
    """Parse microseconds since 1970; None for anything else."""
    if type(value) is not int or not 0 < value < MAX_MICROS:
        return None
    return EPOCH + timedelta(microseconds=value)
