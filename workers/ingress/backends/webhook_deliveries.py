"""When deliveries of webhooks were first received: a second attempt is no newer than the first.

A state with an id and no time of its own counts from then (ARCHITECTURE.md, "No time"). The
first attempt may still wait in the outbox when the second, sent because the first was not
answered in time, goes straight to the broker; whichever is handled, it must not count as news
of the second's time. The memory is this process's own and bounded; what it has forgotten, or
another process received, counts from this attempt.
"""

from collections import OrderedDict
from datetime import datetime

from events.envelope import Event

MAX_DELIVERIES = 20_000  # deliveries


class WebhookDeliveries:
    """Remembers the times of the newest deliveries, by source and id."""

    def __init__(self, max_deliveries: int = MAX_DELIVERIES) -> None:
        """Begin with none."""
        self._max_deliveries = max_deliveries
        self._first_received: OrderedDict[tuple[str, str], datetime] = OrderedDict()

    def with_first_received_time(self, event: Event) -> Event:
        """Give an event the time of its first attempt; one without a time has none to keep."""
        if not event.has_time:
            return event
        first = self._first_received.setdefault((event.source, event.id), event.time)
        if first is not event.time:
            return event.model_copy(update={"time": first})
        if len(self._first_received) > self._max_deliveries:
            self._first_received.popitem(last=False)
        return event
