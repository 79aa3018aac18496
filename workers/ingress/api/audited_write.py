"""Runs actions of admins that the ingress performs itself, and writes each to the audit log."""

from typing import ParamSpec, TypeVar

from infra.web.audited_write import AuditedWriter
from infra.web.database import Query
from workers.ingress.context import RequestContext

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
    """Run ``action(connection, *args, **kwargs)`` and record it, as ``AuditedWriter.run`` does."""
    writer = AuditedWriter(
        context.state.database,
        context.state.resources.redis,
        context.principal.user_id,
        context.client,
        context.ids,
        context.build_message,
    )
    return await writer.run(name, subject, action, *args, **kwargs)
