"""The outcome of a write: pending, done, rejected or dead-lettered."""

from aiohttp import web

from infra.security.operation_id import parse_operation_id
from infra.storage.operations import find_operation
from infra.web.errors import not_found
from infra.web.responses import success
from schemas.operations import Operation
from workers.ingress.context import RequestContext


async def get_operation(context: RequestContext) -> web.Response:
    """Return an operation; it is ``pending`` until a worker has written its outcome.

    The id itself proves that it was issued and to whom, so an operation is known from its 202
    on, also before its row exists.
    """
    known = parse_operation_id(context.state.operation_key, context.request.match_info["id"])
    if known is None or not context.principal.may_see(known.owner):
        raise not_found("operation")
    found = await context.read("Operations", find_operation, known.text)
    operation = found or Operation(id=known.text, state="pending")
    return success(context.request_id, operation, headers={"Cache-Control": "no-store"})
