"""Taking responsibility for messages: the broker, else the outbox in Postgres, else nobody.

    publish, confirmed and routed, within CONFIRM_DEADLINE ── else ──> outbox row, committed
                                                              ── else ──> 503, try again

A message whose confirm did not come may be on the bus already; its outbox row carries the
same id, so it takes effect once all the same. After an unanswered publish the broker is in
doubt: one message in a while tries it, and the others spare themselves the wait.
"""

import time
from collections.abc import Sequence

from infra import telemetry
from infra.bus import Publisher
from infra.errors import PublishFailed, PublishUnknown, Unroutable
from infra.message import Message
from workers.ingress.refusals import unavailable
from workers.ingress.stash import Stash

PAUSE = 1.0  # seconds between two tries of a broker that is in doubt

log = telemetry.get_logger(__name__)


class Acceptance:
    """Makes messages durable, or refuses them."""

    def __init__(self, publisher: Publisher, stash: Stash, deadline: float) -> None:
        """Give the broker ``deadline`` seconds for a confirm; ``stash`` is the second choice."""
        self._publisher = publisher
        self._stash = stash
        self._deadline = deadline
        self._in_doubt = False
        self._next_try = 0.0

    async def one(self, message: Message) -> None:
        """Make a message durable; raises a ``Refusal`` (503) when nothing takes it."""
        if self._in_doubt and self._is_early() and await self._keep([message]):
            return
        try:
            await self._publisher.publish(message, timeout=self._deadline)
        except PublishFailed as error:
            self._note(error)
            if isinstance(error, Unroutable) or not await self._keep([message]):
                telemetry.ACCEPTED["unavailable"].inc()
                raise unavailable("The message could not be stored.") from None
        else:
            self._in_doubt = False
            telemetry.ACCEPTED["confirmed"].inc()

    async def all(self, messages: Sequence[Message]) -> list[bool]:
        """Make messages durable; tells for each, in their order, whether it is."""
        if self._in_doubt and self._is_early() and await self._keep(messages):
            return [True] * len(messages)
        verdicts = await self._publisher.publish_all(messages, timeout=self._deadline)
        if None in verdicts:
            self._in_doubt = False
        for error in filter(None, verdicts):
            self._note(error)
        telemetry.ACCEPTED["confirmed"].inc(verdicts.count(None))
        return await self._keep_failed(messages, verdicts)

    async def _keep_failed(
        self, messages: Sequence[Message], verdicts: Sequence[PublishFailed | None]
    ) -> list[bool]:
        failed = [
            message
            for message, error in zip(messages, verdicts, strict=True)
            if error is not None and not isinstance(error, Unroutable)
        ]
        kept = not failed or await self._keep(failed)
        found = [
            error is None or (kept and not isinstance(error, Unroutable)) for error in verdicts
        ]
        telemetry.ACCEPTED["unavailable"].inc(found.count(False))
        return found

    def _is_early(self) -> bool:
        """Tell whether another message has tried the broker a moment ago; if not, this one does."""
        now = time.monotonic()
        if now < self._next_try:
            return True
        self._next_try = now + PAUSE
        return False

    def _note(self, error: PublishFailed) -> None:
        if isinstance(error, PublishUnknown):
            self._in_doubt = True
            self._next_try = time.monotonic() + PAUSE
        elif isinstance(error, Unroutable):  # has to be seen, not stored
            log.error("the topology is not complete", extra={"reason": str(error)})

    async def _keep(self, messages: Sequence[Message]) -> bool:
        kept = await self._stash.keep(messages)
        if kept:
            telemetry.ACCEPTED["outbox"].inc(len(messages))
        return kept
