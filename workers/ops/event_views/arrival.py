"""Says how an event came in: the door, the caller, and how it became durable."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.events import EventAcceptance, TrackedEvent

HOW = {
    "confirmed": "confirmed by the broker",
    "outbox": "stored in the outbox, published later",
}
MAX_SHOWN = 10  # acceptances of one event


@dataclass(frozen=True, slots=True)
class Arrival:
    """One acceptance in the words of a person; ``route`` and ``caller`` may be empty."""

    acceptance: EventAcceptance
    route: str
    caller: str
    durable: str


def list_arrivals(event: TrackedEvent) -> Sequence[Arrival]:
    """List the first acceptances of an event."""
    return [_read_arrival(one) for one in event.accepted[:MAX_SHOWN]]


def _read_arrival(acceptance: EventAcceptance) -> Arrival:
    """Read the door as ``infra.messaging.headers.DOOR`` is written."""
    kind, _, rest = acceptance.door.partition(" ")
    durable = HOW[acceptance.how]
    place, _, caller = rest.rpartition(" ")
    if kind in ("http", "console") and place:
        return Arrival(acceptance, place, _name_caller(caller), durable)
    if kind == "webhook" and place:
        slot = caller.removeprefix("slot=")
        return Arrival(acceptance, f"webhook of {place}", f"signed with secret {slot}", durable)
    if kind == "amqp" and rest:
        return Arrival(acceptance, "AMQP", f"broker user {rest.removeprefix('user=')}", durable)
    return Arrival(acceptance, acceptance.door, "", durable)


def _name_caller(caller: str) -> str:
    name, _, value = caller.partition("=")
    words = {"key": "API key", "user": "account"}
    return f"{words[name]} {value}" if name in words and value else caller
