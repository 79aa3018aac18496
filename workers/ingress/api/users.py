"""Accounts as admins see them, and the roles that they give."""

from collections.abc import Sequence

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from events import UserRoleChangeRequested
from infra.storage.users import list_users, read_user
from schemas.users import Role, RoleAssignment, RoleUpdate, UserSummary
from workers.ingress.api.auth_rpc import call_and_respond
from workers.ingress.api.page_response import page_response
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import not_found
from workers.ingress.http.pagination import PageQuery
from workers.ingress.http.parsing import read_id, read_model, read_query
from workers.ingress.http.responses import success

RESOURCE = "user"


class UserQuery(PageQuery):
    """Which accounts to list."""

    role: Role | None = None


async def get_users(context: RequestContext) -> web.Response:
    """Answer a page of all accounts, the newest first."""
    query = read_query(context.request, UserQuery)

    async def find(tx: AsyncConnection) -> tuple[Sequence[UserSummary], int]:
        return await list_users(tx, **query.model_dump())

    return await page_response(context, query, find, "Users")


async def get_user(context: RequestContext) -> web.Response:
    """Answer an account."""
    user_id = read_id(context.request, RESOURCE)

    async def find(tx: AsyncConnection) -> UserSummary | None:
        return await read_user(tx, user_id)

    found = await context.read(find, "Users")
    if found is None:
        raise not_found(RESOURCE)
    return success(context.request_id, found)


async def patch_user(context: RequestContext) -> web.Response:
    """Give an account another role; the last admin stays one."""
    user_id = read_id(context.request, RESOURCE)
    draft = await read_model(context.request, RoleUpdate)
    return await call_and_respond(
        context, UserRoleChangeRequested, RoleAssignment(id=user_id, role=draft.role)
    )
