"""API keys of upstream systems: made and revoked by the auth worker, listed here."""

from collections.abc import Sequence

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from events import ApiKeyCreateRequested, ApiKeyRevokeRequested
from infra.storage.api_keys import list_api_keys, read_api_key
from schemas.api_keys import ApiKeyCreate, ApiKeyRef, ApiKeySummary
from workers.ingress.api.auth_rpc import call_and_respond
from workers.ingress.api.page_response import page_response
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import not_found
from workers.ingress.http.pagination import PageQuery
from workers.ingress.http.parsing import read_id, read_model, read_query
from workers.ingress.http.responses import success

RESOURCE = "API key"


async def post_api_key(context: RequestContext) -> web.Response:
    """Make an API key and show it, this once.

    If no answer comes (503), the key may have been made: it is in the list then, and nobody
    knows it. Revoke it and make another one.
    """
    draft = await read_model(context.request, ApiKeyCreate)
    return await call_and_respond(context, ApiKeyCreateRequested, draft)


async def get_api_keys(context: RequestContext) -> web.Response:
    """Answer a page of all API keys, the newest first, revoked ones too."""
    query = read_query(context.request, PageQuery)

    async def find(tx: AsyncConnection) -> tuple[Sequence[ApiKeySummary], int]:
        return await list_api_keys(tx, page=query.page, per_page=query.per_page)

    return await page_response(context, query, find, "API keys")


async def get_api_key(context: RequestContext) -> web.Response:
    """Answer what is known of an API key: all but the key itself."""
    key_id = read_id(context.request, RESOURCE)

    async def find(tx: AsyncConnection) -> ApiKeySummary | None:
        return await read_api_key(tx, key_id)

    found = await context.read(find, "API keys")
    if found is None:
        raise not_found(RESOURCE)
    return success(context.request_id, found)


async def delete_api_key(context: RequestContext) -> web.Response:
    """Revoke an API key; within a second no process takes it any more."""
    ref = ApiKeyRef(id=read_id(context.request, RESOURCE))
    return await call_and_respond(context, ApiKeyRevokeRequested, ref)
