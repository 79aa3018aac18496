"""An outage wait: a consumer waits for infrastructure, visibly and with its reason.

No attempt is counted and nothing is dead-lettered meanwhile. Before work is tried again, the
database has taken a write (and Redis, if it was Redis that was unavailable).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from redis.exceptions import RedisError

from infra import metrics
from infra.backoff import Backoff
from infra.errors import Outage
from infra.resources import Resources, find_trouble

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """Seconds: ``in_hand`` with messages in hand, ``between_probes`` at most.

    The broker's own limit for a message in hand is 30 minutes.
    """

    in_hand: float = 300.0
    between_probes: float = 5.0


class Interruptible(Protocol):
    """A reader whose messages are to be returned at ``stop``, or are lost with its channel."""

    stop: asyncio.Event

    @property
    def is_lost(self) -> bool:
        """Whether the broker has the messages again."""


class OutageWait:
    """Whether the consumer of a queue waits; ``reason`` is None while it does not.

    It lasts until work succeeds again, also from one channel to the next.
    """

    def __init__(
        self,
        queue: str,
        resources: Resources,
        meters: metrics.Meters,
        *,
        limits: WaitLimits | None = None,
    ) -> None:
        """Begin without a wait."""
        self._limits = limits or WaitLimits()
        self.reason: str | None = None
        self._queue = queue
        self._resources = resources
        self._meters = meters
        self._probes_redis = False

    def begin(self, reason: str) -> None:
        """Begin or continue to wait; each reason is logged once."""
        if self.reason is None:
            self._meters.waiting.set(1)
            self._meters.waits.inc()
        if reason != self.reason:
            log.warning(
                "waiting for an outage to end", extra={"queue": self._queue, "reason": reason}
            )
        self.reason = reason

    def end(self) -> None:
        """End the wait."""
        if self.reason is not None:
            self.reason = None
            self._meters.waiting.set(0)
            log.warning("goes on after an outage", extra={"queue": self._queue})

    async def probe(self) -> bool:
        """Tell whether what was unavailable takes writes; the wait goes on while it does not."""
        trouble = await find_trouble(self._resources, redis=self._probes_redis)
        if trouble is not None:
            self.begin(trouble)
            return False
        self._probes_redis = False
        return True

    async def retry(self, step: Callable[[], Awaitable[T]], reader: Interruptible) -> T:
        """Do a step that needs infrastructure, again and again until it succeeds.

        Raises the step's ``Outage`` when ``reader`` is stopped or lost, or after as many seconds
        as the limits allow.
        """
        backoff = Backoff(first=0.2, longest=self._limits.between_probes)
        clock = asyncio.get_running_loop().time
        until = clock() + self._limits.in_hand
        while True:
            try:
                return await step()
            except Outage as error:
                self.begin(str(error))
                self._probes_redis |= isinstance(error.__cause__, RedisError)
                await backoff.sleep(reader.stop)
                while not self._is_over(reader, until) and not await self.probe():
                    await backoff.sleep(reader.stop)
                if self._is_over(reader, until):
                    raise

    def _is_over(self, reader: Interruptible, until: float) -> bool:
        now = asyncio.get_running_loop().time()
        return reader.stop.is_set() or reader.is_lost or now > until
