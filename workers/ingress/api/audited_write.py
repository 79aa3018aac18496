"""Runs actions of admins that the ingress performs itself, and writes each to the audit log.

An access token is accepted until it expires, so the transaction checks whether the user is an
admin *now*, as the auth worker does. A rejected action is recorded like any other.
"""

from typing import ParamSpec, TypeVar
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from events import AuditRecorded
from events.audit import AuditRecordedData
from events.sources import API_SOURCE
from infra.messaging import outbox
from infra.storage.audit import insert_audit_entries, is_recorded
from infra.storage.users import lock_and_get_admin
from workers.ingress.backends.database import Query
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import HttpError, forbidden

P = ParamSpec("P")
T = TypeVar("T")


async def run_audited(
    context: RequestContext,
    name: str,
    subject: str,
    action: Query[P, T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run ``action(connection, *args, **kwargs)`` and record it, in one transaction.

    Returns what the action returns. A transaction whose commit is lost is run again, and finds in
    the audit log that it was done. Raises the ``HttpError`` of the action, which must precede its
    writes, or 403; ``Outage`` when Postgres is down.
    """
    entry_id = uuid4()
    results: list[T | HttpError] = []

    async def run(tx: AsyncConnection) -> T | HttpError:
        if await is_recorded(tx, entry_id):
            return results[-1]
        try:
            if await lock_and_get_admin(tx, context.principal.user_id) is None:
                raise forbidden("Your account may not do this.")
            result: T | HttpError = await action(tx, *args, **kwargs)
        except HttpError as error:
            result = error
        results.append(result)
        event = _audit_event(context, name, subject, result)
        await insert_audit_entries(tx, [event], [entry_id])
        await outbox.add(tx, [context.build_message(event)])
        return result

    result = await context.state.database.write(run)
    await outbox.notify(context.state.resources.redis)
    if isinstance(result, HttpError):
        raise result
    return result


def _audit_event(context: RequestContext, name: str, subject: str, result: object) -> AuditRecorded:
    client = context.client
    entry = AuditRecordedData(
        action=name,
        outcome=result.code if isinstance(result, HttpError) else "ok",
        actor=client.account,
        subject=subject,
        address=client.address,
        device=client.device,
    )
    return AuditRecorded(source=API_SOURCE, data=entry, **context.ids.trace_attributes)
