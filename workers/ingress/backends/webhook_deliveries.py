"""Remembers when webhook deliveries were first received: a retry is not newer than the original.

A state with an id but without a time of its own counts from its first reception. The first
attempt may still be in the outbox when the sender's retry, sent because the first was not answered
in time, goes directly to the broker; whichever is handled must carry the time of the first. The
memory belongs to this process and is bounded: a delivery that it no longer holds, or that another
process received first, counts from the present attempt.
"""

from collections import OrderedDict
from datetime import datetime

from events.envelope import Event

MAX_DELIVERIES = 20_000  # deliveries


class WebhookDeliveries:
    """Holds the reception times of the latest deliveries, by source and id."""

    def __init__(self, max_deliveries: int = MAX_DELIVERIES) -> None:
        """Start without deliveries; keep ``max_deliveries`` of them."""
        self._max_deliveries = max_deliveries
        self._first_received: OrderedDict[tuple[str, str], datetime] = OrderedDict()

    def with_first_received_time(self, event: Event) -> Event:
        """Return an event with the time of its first attempt; one without a time is unchanged."""
        if not event.has_time:
            return event
        first = self._first_received.setdefault((event.source, event.id), event.time)
        if first is not event.time:
            return event.model_copy(update={"time": first})
        if len(self._first_received) > self._max_deliveries:
            self._first_received.popitem(last=False)
        return event
