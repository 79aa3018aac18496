"""Measures how long events take from their acceptance to their effect, on a sample of the newest.

An event that has not taken effect yet counts with the time that it has waited so far, so a queue
that stands still shows at once. What is dead, or waits in a paused queue, does not count.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.messaging.decoder import hash_names
from infra.messaging.destination_queues import find_bound_queues
from infra.storage.flow_counts import AcceptedEvent, find_dead, find_handled, list_accepted

WINDOW = 60.0  # seconds in which an event was accepted
MAX_EVENTS = 300
UNREAD = frozenset({"webhooks.unrecognised"})  # each of its events becomes a dead letter


@dataclass(frozen=True, slots=True)
class EffectTimes:
    """Quantiles in seconds, of ``number`` events in the queues that they are for."""

    p50: float
    p99: float
    number: int


async def read_effect_times(
    tx: AsyncConnection, until: datetime, at: datetime, paused: Collection[str]
) -> EffectTimes | None:
    """Measure the newest events that were accepted in the WINDOW before ``until`` (UTC).

    ``at`` (UTC) is now. None where no event was accepted.
    """
    events = await list_accepted(tx, until, WINDOW, MAX_EVENTS)
    wanted = [
        ((queue, hash_names(event.source, event.event_id)), event)
        for event in events
        for queue in find_bound_queues(event.routing_key)
        if queue not in paused and queue not in UNREAD
    ]
    if not wanted:
        return None
    handled = await find_handled(tx, {key for key, _ in wanted})
    late = {event.event_id for key, event in wanted if key not in handled}
    dead = await find_dead(tx, late) if late else frozenset()
    seconds = [
        _measure(event, handled.get(key, at))
        for key, event in wanted
        if key in handled or event.event_id not in dead
    ]
    return summarize(seconds)


def summarize(seconds: Sequence[float]) -> EffectTimes | None:
    """Take the quantiles by the nearest rank; None of nothing."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return EffectTimes(_pick(ordered, 50), _pick(ordered, 99), len(ordered))


def _pick(ordered: Sequence[float], percent: int) -> float:
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _measure(event: AcceptedEvent, effective_at: datetime) -> float:
    return max(0.0, (effective_at - event.accepted_at).total_seconds())
