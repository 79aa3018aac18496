"""Whether a consumer may read its queue: a person or the queue circuit breaker may have paused it.

A pause counts for every process, within a second or two. A stop (the breaker's pause) counts for
the version of the code that failed; other code tries, and lifts it when it succeeds.
"""

import asyncio

from infra import metrics
from infra.backoff import sleep_until
from infra.messaging.queue_breaker import QueueBreaker
from infra.storage.pause_registry import PauseRegistry
from infra.storage.pauses import PauseRow
from infra.version import code_version


class QueuePause:
    """Whether one queue is paused; ``row`` says why, as it was last seen."""

    def __init__(self, queue: str, registry: PauseRegistry, breaker: QueueBreaker) -> None:
        """``registry`` is that of the process, ``breaker`` that of the queue's consumer."""
        self.row: PauseRow | None = None
        self._queue = queue
        self._registry = registry
        self._breaker = breaker
        self._interval = registry.max_age / 2  # seconds between two looks at what it knows
        self._stopped = metrics.CONSUMER_STOPPED.labels(queue)

    @property
    def trouble(self) -> str | None:
        """Why the circuit breaker has stopped the queue, or None."""
        if self._breaker.reason is not None:
            return f"stopped: {self._breaker.reason}"
        if self.row is not None and self.row.code_version is not None:
            return f"stopped: {self.row.reason}"
        return None

    @property
    def cause(self) -> str | None:
        """Why and by whom the queue or its platform is paused on purpose, or None."""
        if self.row is None or self.row.code_version is not None:
            return None
        return f"{self.row.reason} by {self.row.paused_by}"

    async def look(self) -> bool:
        """Tell whether the queue is paused now.

        Raises ``Outage`` when that could not be read since the process started.
        """
        pauses = await self._registry.current()
        found = pauses.find(self._queue)
        if found is not None and found.code_version not in (None, code_version()):
            self._breaker.try_other_code()
            found = None
        self.row = found
        self._stopped.set(found is not None and found.code_version is not None)
        return found is not None

    async def hold(self, stop: asyncio.Event) -> None:
        """Wait while the queue is paused; raises ``Outage`` while that is not known."""
        while not stop.is_set():
            if await self._breaker.write_stop():
                await self._registry.current(fresh=True)
            if not await self.look():
                return
            await sleep_until(stop, self._interval)

    async def wait_for_pause(self) -> None:
        """Wait until the queue is paused, while it is read."""
        while True:
            if await self.look():
                return
            await asyncio.sleep(self._interval)
