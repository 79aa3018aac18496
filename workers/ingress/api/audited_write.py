"""Acts of admins that the ingress carries out itself, each of them in the audit log.

An access token is believed for as long as it lives; who is an admin *now* is asked in the
transaction of the act, as the auth worker does. A refused act is noted like any other.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from events import AuditRecorded
from events.audit import AuditRecordedData
from events.sources import API_SOURCE
from infra.amqp.message import build_message
from infra.messaging import outbox
from infra.storage.audit import insert_audit_entries, is_recorded
from infra.storage.users import lock_and_get_admin
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import HttpError, forbidden

T = TypeVar("T")
AdminAction = Callable[[AsyncConnection], Awaitable[T]]


async def run_audited(
    context: RequestContext, action: str, subject: str, deed: AdminAction[T]
) -> T:
    """Do it and note it, in one transaction; gives what the deed gives.

    A transaction whose commit got lost is tried again, and then finds in the audit log that it
    was done.

    Raises the ``HttpError`` that the deed raises, which must come before its writes, or 403;
    ``Outage`` when Postgres is gone.
    """
    act_id = uuid4()
    results: list[T | HttpError] = []

    async def run(tx: AsyncConnection) -> T | HttpError:
        if await is_recorded(tx, act_id):
            return results[-1]
        try:
            if await lock_and_get_admin(tx, context.principal.user_id) is None:
                raise forbidden("Your account may not do this.")
            result: T | HttpError = await deed(tx)
        except HttpError as refusal:
            result = refusal
        results.append(result)
        act = _audit_event(context, action, subject, result)
        await insert_audit_entries(tx, [act], [act_id])
        await outbox.add(tx, [build_message(act)])
        return result

    result = await context.state.database.write(run)
    await outbox.notify(context.state.resources.redis)
    if isinstance(result, HttpError):
        raise result
    return result


def _audit_event(
    context: RequestContext, action: str, subject: str, result: object
) -> AuditRecorded:
    client = context.client
    entry = AuditRecordedData(
        action=action,
        outcome=result.code if isinstance(result, HttpError) else "ok",
        actor=client.account,
        subject=subject,
        address=client.address,
        device=client.device,
    )
    return AuditRecorded(source=API_SOURCE, data=entry, **context.ids.trace_attributes)
