"""Reads what flowed before one sample, and what the relay knows of the paths."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from infra.messaging.routing_state import RoutingState, get_routing_state
from infra.storage.flow_counts import (
    AcceptedCount,
    PutOffCounts,
    count_accepted,
    count_dead,
    count_put_off,
    find_complete_until,
)
from workers.ops.effect_times import EffectTimes, read_effect_times

MAX_LAG = timedelta(seconds=30)  # of the index, from which on what is accepted is not known
RECENT = 30.0  # seconds in which a platform has put events off


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """What flowed in the last seconds; None for what is not known.

    ``accepted`` is None while the event index lags; ``dead_letters`` counts those of this hour
    and the one before.
    """

    accepted: Sequence[AcceptedCount] | None
    effect_times: EffectTimes | None
    put_off: PutOffCounts
    dead_letters: int
    routing: RoutingState


async def read_flow_counts(
    tx: AsyncConnection, seconds: float, paused: Collection[str]
) -> FlowCounts:
    """Read the counts of the last ``seconds``; events in ``paused`` queues are not late."""
    at, until = now(), await find_complete_until(tx)
    is_current = until is not None and at - until <= MAX_LAG
    accepted, times = None, None
    if until is not None and is_current:
        accepted = await count_accepted(tx, until, seconds)
        times = await read_effect_times(tx, min(until, at), at, paused)
    return FlowCounts(
        accepted=accepted,
        effect_times=times,
        put_off=await count_put_off(tx, seconds, RECENT),
        dead_letters=await count_dead(tx),
        routing=await get_routing_state(tx),
    )
