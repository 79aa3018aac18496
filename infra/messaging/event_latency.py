"""Measures how long events took until their commit, a batch at a time.

An event is accepted when the ingress publishes or stores it, which a header of its own tells; one
that others publish, when a worker first receives it. Each line of the loop runs for every event.
"""

from collections.abc import Collection, Sequence
from time import time

from infra.amqp import topology
from infra.messaging.decoder import DecodedDelivery
from infra.messaging.delivery import Delivery
from infra.messaging.headers import ACCEPTED
from infra.messaging.origin import ACCEPTED_FIELD, MICROS
from infra.metrics import Meters
from schemas.trace_context import SAMPLED_ENDINGS

MICROSECOND = 1e-6


class EventLatency:
    """Measures the events of one queue."""

    def __init__(self, meters: Meters, internal_users: Collection[str]) -> None:
        """Take times of acceptance from ``internal_users`` of the broker alone."""
        self._seconds = meters.event_seconds
        self._age = meters.event_age
        self._internal = frozenset(internal_users)

    def observe(self, handled: Sequence[DecodedDelivery]) -> None:
        """Count the events of a transaction that has just been committed."""
        at, internal = time(), self._internal
        seconds = [at - accepted_at(item.delivery, internal) for item in handled]
        ages = [at - item.occurred for item in handled if item.occurred is not None]
        self._seconds.observe_all(_not_negative(seconds))
        self._age.observe_all(_not_negative(ages))
        self._mark_slowest_trace(handled, seconds)

    def _mark_slowest_trace(
        self, handled: Sequence[DecodedDelivery], seconds: Sequence[float]
    ) -> None:
        """Show the slowest event whose trace is recorded as an exemplar."""
        if not handled or not hasattr(handled[0].event, "traceparent"):
            return
        traced = [
            place
            for place, item in enumerate(handled)
            if (text := item.event.traceparent) is not None and text.endswith(SAMPLED_ENDINGS)
        ]
        if traced:
            place = max(traced, key=seconds.__getitem__)
            context = handled[place].event.trace_context
            self._seconds.mark(max(0.0, seconds[place]), context.trace_id)


def _not_negative(seconds: list[float]) -> list[float]:
    """Count what a clock that is ahead makes negative as 0; that is rare."""
    if min(seconds, default=0.0) >= 0.0:
        return seconds
    return [max(0.0, value) for value in seconds]


def accepted_at(delivery: Delivery, internal_users: Collection[str]) -> float:
    """Tell when an event was accepted, in seconds since 1970.

    A publisher's own header counts only if the broker says that it is one of ``internal_users``,
    which write nothing before it that a client has chosen: so its first occurrence is read, and no
    other header. On a message that came back over ``adrelay.back`` a worker has written it.
    """
    header = delivery.header
    start = header.find(ACCEPTED_FIELD)
    if start < 0:
        return delivery.received
    if delivery.exchange == topology.EVENTS_EXCHANGE and delivery.user_id in internal_users:
        start += len(ACCEPTED_FIELD)
        if start + MICROS.size <= len(header):
            microseconds: int = MICROS.unpack_from(header, start)[0]
            return microseconds * MICROSECOND
    elif delivery.is_requeued:
        kept = delivery.headers.get(ACCEPTED)
        return kept * MICROSECOND if isinstance(kept, int) else delivery.received
    return delivery.received
