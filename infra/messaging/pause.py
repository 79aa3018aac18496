"""A pause: a consumer waits for infrastructure, and everybody can see it and why.

Nothing is spent and nothing dead-lettered meanwhile. Before work is tried again, the database
has taken a write (and Redis, if it was Redis that was gone).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from redis.exceptions import RedisError

from infra import metrics
from infra.backoff import Backoff
from infra.errors import Outage
from infra.resources import Resources, find_trouble

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: ``limit`` with messages in hand, ``step`` at most between two probes.

    The broker's own limit for a message in hand is 30 minutes.
    """

    limit: float = 300.0
    step: float = 5.0


PATIENCE = Patience()


class Pause:
    """Whether the consumer of a queue waits; ``reason`` is None while it does not.

    It lasts until work succeeds again, also from one reading of the queue to the next.
    """

    def __init__(
        self,
        queue: str,
        resources: Resources,
        meters: metrics.Meters,
        *,
        patience: Patience = PATIENCE,
    ) -> None:
        """Begin without a pause."""
        self._patience = patience
        self.reason: str | None = None
        self._queue = queue
        self._resources = resources
        self._meters = meters
        self._redis_was_gone = False

    def begin(self, reason: str) -> None:
        """Wait, or go on waiting; the log tells each reason once."""
        if self.reason is None:
            self._meters.paused.set(1)
            self._meters.pauses.inc()
        if reason != self.reason:
            log.warning("paused", extra={"queue": self._queue, "reason": reason})
        self.reason = reason

    def end(self) -> None:
        """Work again."""
        if self.reason is not None:
            self.reason = None
            self._meters.paused.set(0)
            log.warning("goes on after a pause", extra={"queue": self._queue})

    async def probe(self) -> bool:
        """Tell whether what was gone takes writes; it is a pause while it does not."""
        trouble = await find_trouble(self._resources, redis=self._redis_was_gone)
        if trouble is not None:
            self.begin(trouble)
            return False
        self._redis_was_gone = False
        return True

    async def through(
        self, step: Callable[[], Awaitable[T]], stop: asyncio.Event, gone: Callable[[], bool]
    ) -> T:
        """Do a step that needs infrastructure, again and again until it is there.

        Raises the step's ``Outage`` when ``stop`` is set, when the messages in hand are
        ``gone``, or after as many seconds as its patience allows.
        """
        backoff = Backoff(first=0.2, longest=self._patience.step)
        until = asyncio.get_running_loop().time() + self._patience.limit

        def over() -> bool:
            return stop.is_set() or gone() or asyncio.get_running_loop().time() > until

        while True:
            try:
                return await step()
            except Outage as error:
                self.begin(str(error))
                self._redis_was_gone |= isinstance(error.__cause__, RedisError)
                await backoff.sleep(stop)
                while not over() and not await self.probe():
                    await backoff.sleep(stop)
                if over():
                    raise
