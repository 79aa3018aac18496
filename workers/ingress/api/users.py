"""Accounts and their roles, for admins."""

from aiohttp import web

from events import UserRoleChangeRequested
from infra.storage.users import list_users, read_user
from infra.web.errors import not_found
from infra.web.responses import success
from schemas.users import Role, RoleAssignment, RoleUpdate
from workers.ingress.api.auth_rpc import call_and_respond
from workers.ingress.api.page_response import page_response
from workers.ingress.context import RequestContext
from workers.ingress.http.pagination import PageQuery
from workers.ingress.http.parsing import read_id, read_model, read_query

RESOURCE = "user"


class UserQuery(PageQuery):
    """Filters of the list of accounts."""

    role: Role | None = None


async def get_users(context: RequestContext) -> web.Response:
    """List all accounts by page, the newest first."""
    query = read_query(context.request, UserQuery)
    return await page_response(context, query, "Users", list_users, **query.model_dump())


async def get_user(context: RequestContext) -> web.Response:
    """Return an account."""
    user_id = read_id(context.request, RESOURCE)
    found = await context.read("Users", read_user, user_id)
    if found is None:
        raise not_found(RESOURCE)
    return success(context.request_id, found)


async def patch_user(context: RequestContext) -> web.Response:
    """Change an account's role; the last admin cannot lose the role."""
    user_id = read_id(context.request, RESOURCE)
    update = await read_model(context.request, RoleUpdate)
    return await call_and_respond(
        context, UserRoleChangeRequested, RoleAssignment(id=user_id, role=update.role)
    )
