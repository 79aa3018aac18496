"""The audit log: security-relevant actions, readable by admins."""

from typing import Annotated
from uuid import UUID

from aiohttp import web
from pydantic import Field

from infra.storage.audit import list_audit_entries
from schemas.times import UtcDatetime
from schemas.types import Text
from workers.ingress.api.page_response import page_response
from workers.ingress.context import RequestContext
from workers.ingress.http.pagination import PageQuery
from workers.ingress.http.parsing import read_query

FilterText = Annotated[Text, Field(max_length=100)]


class AuditQuery(PageQuery):
    """Filters of the audit log; ``from`` is inclusive, ``to`` exclusive."""

    actor: UUID | None = None
    action: FilterText | None = None
    outcome: FilterText | None = None
    since: Annotated[UtcDatetime | None, Field(alias="from")] = None
    until: Annotated[UtcDatetime | None, Field(alias="to")] = None


async def get_audit(context: RequestContext) -> web.Response:
    """List the audit log by page, the newest entry first."""
    query = read_query(context.request, AuditQuery)
    return await page_response(
        context, query, "Audit entries", list_audit_entries, **query.model_dump()
    )
