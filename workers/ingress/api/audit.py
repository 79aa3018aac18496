"""The audit log: what mattered to security, for admins to read."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from aiohttp import web
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.audit import list_audit_entries
from schemas.audit import AuditEntry
from schemas.times import UtcDatetime
from schemas.types import Text
from workers.ingress.api.page_response import page_response
from workers.ingress.context import RequestContext
from workers.ingress.http.pagination import PageQuery
from workers.ingress.http.parsing import read_query

FilterText = Annotated[Text, Field(max_length=100)]


class AuditQuery(PageQuery):
    """Which acts to list: of an account, of a kind, from a moment on and before another."""

    actor: UUID | None = None
    action: FilterText | None = None
    outcome: FilterText | None = None
    since: Annotated[UtcDatetime | None, Field(alias="from")] = None
    until: Annotated[UtcDatetime | None, Field(alias="to")] = None


async def get_audit(context: RequestContext) -> web.Response:
    """Answer a page of the audit log, the newest act first."""
    query = read_query(context.request, AuditQuery)

    async def find(tx: AsyncConnection) -> tuple[Sequence[AuditEntry], int]:
        return await list_audit_entries(tx, **query.model_dump())

    return await page_response(context, query, find, "Acts")
