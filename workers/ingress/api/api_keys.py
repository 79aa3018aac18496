"""API keys of upstream systems: listed here, created and revoked by the auth worker."""

from aiohttp import web

from events import ApiKeyCreateRequested, ApiKeyRevokeRequested
from infra.storage.api_keys import list_api_keys, read_api_key
from infra.web.errors import not_found
from infra.web.responses import success
from schemas.api_keys import ApiKeyCreate, ApiKeyRef
from workers.ingress.api.auth_rpc import call_and_respond
from workers.ingress.api.page_response import page_response
from workers.ingress.context import RequestContext
from workers.ingress.http.pagination import PageQuery
from workers.ingress.http.parsing import read_id, read_model, read_query

RESOURCE = "API key"


async def post_api_key(context: RequestContext) -> web.Response:
    """Create an API key; the response is the only one that contains it.

    After a 503 the key may have been created: it is in the list then, but its text is lost.
    Revoke it and create another one.
    """
    draft = await read_model(context.request, ApiKeyCreate)
    return await call_and_respond(context, ApiKeyCreateRequested, draft)


async def get_api_keys(context: RequestContext) -> web.Response:
    """List all API keys by page, the newest first, including revoked ones."""
    query = read_query(context.request, PageQuery)
    return await page_response(
        context, query, "API keys", list_api_keys, page=query.page, per_page=query.per_page
    )


async def get_api_key(context: RequestContext) -> web.Response:
    """Return an API key's name, scopes, sources and times, without the key itself."""
    key_id = read_id(context.request, RESOURCE)
    found = await context.read("API keys", read_api_key, key_id)
    if found is None:
        raise not_found(RESOURCE)
    return success(context.request_id, found)


async def delete_api_key(context: RequestContext) -> web.Response:
    """Revoke an API key; within a second no process accepts it."""
    ref = ApiKeyRef(id=read_id(context.request, RESOURCE))
    return await call_and_respond(context, ApiKeyRevokeRequested, ref)
