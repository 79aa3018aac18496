"""Records how many webhooks came, for the console: what the counters have grown by, in batches.

The counters of ``infra.metrics`` are those of one process since its start. Every few seconds each
process adds their growth to the counts in Postgres, which all processes share and which outlast
them; a request costs nothing more. Growth that is not written yet is kept during an outage, and is
lost if the process is killed.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from events.envelope import now
from infra import metrics
from infra.errors import Outage
from infra.metrics.batch_histogram import BatchHistogram
from infra.metrics.loop_metrics import LoopCounter
from infra.storage.engine import describe_error
from infra.storage.webhook_counts import WebhookCount, add_counts, set_slots
from infra.web.database import Database

INTERVAL = 2.0  # seconds between two writes
CounterKey = tuple[str, str, str]  # source, counter, label
COUNTERS: Mapping[str, LoopCounter] = {
    "outcome": metrics.WEBHOOKS,
    "slot": metrics.WEBHOOK_SECRET_SLOTS,
    "bad_signature": metrics.WEBHOOK_BAD_SIGNATURES,
}
ACCEPTED, BAD_SIGNATURE = ("outcome", "accepted"), "bad_signature"

log = logging.getLogger(__name__)


class WebhookRecorder:
    """Adds the growth of a process's counters to Postgres."""

    def __init__(self, database: Database, slots: Mapping[str, int]) -> None:
        """Count from now on; ``slots`` is the number of secrets of each source."""
        self._database = database
        self._slots: Mapping[str, int] | None = slots
        self._written = read_counters()
        self._addresses: dict[CounterKey, str | None] = {}

    def note_refused(self, source: str, check: str, address: str | None) -> None:
        """Note who has sent the newest webhook that failed a check of its signature."""
        self._addresses[source, BAD_SIGNATURE, check] = address

    async def run(self) -> None:
        """Write every ``INTERVAL`` seconds, until it is cancelled."""
        while True:
            await self.write()
            await asyncio.sleep(INTERVAL)

    async def write(self) -> None:
        """Write what has grown since the last time; an outage leaves it for the next time."""
        counters = read_counters()
        grown = list(self._find_growth(counters, now()))
        try:
            if self._slots is not None:
                await self._database.write(set_slots, self._slots)
                self._slots = None
            if grown:
                await self._database.write(add_counts, grown)
        except Outage:
            return
        except SQLAlchemyError as error:  # the ingress needs none of this
            log.warning("webhooks are not counted", extra={"error": describe_error(error)})
            return
        self._written = counters

    def _find_growth(
        self, counters: Mapping[CounterKey, int], at: datetime
    ) -> Iterable[WebhookCount]:
        for key, number in counters.items():
            if growth := number - self._written.get(key, 0):
                source, counter, label = key
                newest = find_last_accepted(source) if (counter, label) == ACCEPTED else None
                address = self._addresses.get(key)
                yield WebhookCount(source, counter, label, growth, newest or at, address)


def read_counters() -> dict[CounterKey, int]:
    """Read the counters of the process, by source, counter and label."""
    found = {
        (source, name, label): int(number)
        for name, counter in COUNTERS.items()
        for (source, label), number in counter.numbers().items()
    }
    return found | _read_skew(metrics.WEBHOOK_SKEW_SECONDS)


def find_last_accepted(source: str) -> datetime | None:
    """Find when the process last accepted a webhook (UTC)."""
    seconds = metrics.WEBHOOK_LAST_ACCEPTED.numbers().get((source,), 0.0)
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _read_skew(histogram: BatchHistogram) -> dict[CounterKey, int]:
    """Read how many values lie in each bucket, by its upper bound."""
    found: dict[CounterKey, int] = {}
    for (source,), bins in histogram.bins().items():
        before = 0.0
        for bound, count, *_ in bins.buckets():
            found[source, "skew", bound] = int(count - before)
            before = count
    return found
