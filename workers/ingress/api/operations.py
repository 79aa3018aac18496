"""What became of a write: pending, done, refused or dead."""

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.security.operation_id import parse_operation_id
from infra.storage.operations import find_operation
from schemas.operations import Operation
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import not_found
from workers.ingress.http.responses import success


async def get_operation(context: RequestContext) -> web.Response:
    """Answer an operation of the caller's; ``pending`` while no worker has written it.

    The id itself proves that it was given out and to whom, so there is no moment between
    the 202 and the row in which it would be unknown.
    """
    known = parse_operation_id(context.state.operation_key, context.request.match_info["id"])
    if known is None or not context.principal.may_see(known.owner):
        raise not_found("operation")

    async def find(tx: AsyncConnection) -> Operation | None:
        return await find_operation(tx, known.text)

    found = await context.read(find, "Operations")
    operation = found or Operation(id=known.text, state="pending")
    return success(context.request_id, operation, headers={"Cache-Control": "no-store"})
