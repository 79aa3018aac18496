"""Taking responsibility for messages: the broker, else the outbox in Postgres, else nobody.

    publish, confirmed and routed, within CONFIRM_DEADLINE ── else ──> outbox row, committed
                                                              ── else ──> 503, try again

A message whose confirm did not come may be on the bus already; its outbox row carries the
same id, so it takes effect once all the same.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from infra import outbox, telemetry
from infra.bus import Publisher
from infra.errors import Outage, PublishFailed, Unroutable
from infra.message import Message
from infra.resources import Resources
from workers.ingress.database import Database
from workers.ingress.refusals import unavailable

log = telemetry.get_logger(__name__)


class Acceptance:
    """Makes messages durable, or refuses them."""

    def __init__(self, resources: Resources, database: Database) -> None:
        """Use the process's publisher, and its database as the second choice."""
        self._publisher: Publisher = resources.publisher
        self._database = database
        self._deadline = resources.settings.confirm_deadline

    async def one(self, message: Message) -> None:
        """Make a message durable; raises a ``Refusal`` (503) when nothing takes it."""
        try:
            await self._publisher.publish(message, timeout=self._deadline)
        except PublishFailed as error:
            if not await self._store([message], error):
                raise unavailable("The message could not be stored.") from None
        else:
            telemetry.ACCEPTED["confirmed"].inc()

    async def all(self, messages: Sequence[Message]) -> list[bool]:
        """Make messages durable; tells for each, in their order, whether it is."""
        verdicts = await self._publisher.publish_all(messages, timeout=self._deadline)
        failed = [
            (message, error)
            for message, error in zip(messages, verdicts, strict=True)
            if error is not None
        ]
        telemetry.ACCEPTED["confirmed"].inc(len(messages) - len(failed))
        if not failed:
            return [True] * len(messages)
        stored = await self._store([message for message, _ in failed], failed[0][1])
        return [stored or error is None for error in verdicts]

    async def _store(self, messages: Sequence[Message], reason: PublishFailed) -> bool:
        """Write messages to the outbox; what has no route has to be seen, not stored."""
        if isinstance(reason, Unroutable):
            log.error("the topology is not complete", extra={"reason": str(reason)})
            telemetry.ACCEPTED["unavailable"].inc(len(messages))
            return False

        async def add(tx: AsyncConnection) -> None:
            await outbox.add(tx, messages)

        try:
            await self._database.write(add)
        except Outage:
            telemetry.ACCEPTED["unavailable"].inc(len(messages))
            return False
        telemetry.ACCEPTED["outbox"].inc(len(messages))
        return True
