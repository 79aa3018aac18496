"""Runs actions of admins in the process that serves HTTP, and writes each to the audit log.

An access token is accepted until it expires, so the transaction checks whether the user is an
admin *now*, as the auth worker does. A rejected action is recorded like any other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar
from uuid import UUID, uuid4

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncConnection

from events import AuditRecorded
from events.audit import AuditRecordedData
from events.envelope import Event
from events.sources import API_SOURCE
from infra.amqp.message import Message
from infra.messaging import outbox
from infra.storage.audit import insert_audit_entries, is_recorded
from infra.storage.users import lock_and_get_admin
from infra.web.database import Database, Query
from infra.web.errors import HttpError, forbidden
from infra.web.request import RequestIds
from schemas.users import ClientInfo

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AuditedWriter:
    """Writes for one request: who asks, from where, and how its messages are built."""

    database: Database
    redis: Redis
    user_id: UUID
    client: ClientInfo
    ids: RequestIds
    build_message: Callable[[Event], Message]

    async def run(
        self,
        name: str,
        subject: str,
        action: Query[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``action(connection, *args, **kwargs)`` and record it, in one transaction.

        Returns what the action returns. A transaction whose commit is lost is run again, and
        finds in the audit log that it was done. Raises the ``HttpError`` of the action, which
        must precede its writes, or 403; ``Outage`` when Postgres is down.
        """
        entry_id = uuid4()
        results: list[T | HttpError] = []

        async def run(tx: AsyncConnection) -> T | HttpError:
            if await is_recorded(tx, entry_id):
                return results[-1]
            try:
                if await lock_and_get_admin(tx, self.user_id) is None:
                    raise forbidden("Your account may not do this.")
                result: T | HttpError = await action(tx, *args, **kwargs)
            except HttpError as error:
                result = error
            results.append(result)
            event = self._build_event(name, subject, result)
            await insert_audit_entries(tx, [event], [entry_id])
            await outbox.add(tx, [self.build_message(event)])
            return result

        result = await self.database.write(run)
        await outbox.notify(self.redis)
        if isinstance(result, HttpError):
            raise result
        return result

    def _build_event(self, name: str, subject: str, result: object) -> AuditRecorded:
        entry = AuditRecordedData(
            action=name,
            outcome=result.code if isinstance(result, HttpError) else "ok",
            actor=self.client.account,
            subject=subject,
            address=self.client.address,
            device=self.client.device,
        )
        return AuditRecorded(source=API_SOURCE, data=entry, **self.ids.trace_attributes)
