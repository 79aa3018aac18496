"""Publishes a command about a campaign and responds with its operation."""

from uuid import UUID

from aiohttp import web

from events.envelope import Event
from infra.errors import Outage
from infra.storage.campaign_cache import put_campaigns
from infra.storage.operations import find_operation
from infra.web.errors import HttpError
from infra.web.responses import success
from schemas.campaigns import Campaign
from schemas.operations import Operation, OperationState
from schemas.types import FrozenModel
from workers.ingress.api.idempotency import store_fingerprint
from workers.ingress.context import RequestContext
from workers.ingress.http.etags import etag
from workers.ingress.http.prefer import parse_wait, preference_headers

# The status of a response by the campaigns worker's error code; any other is a conflict.
HTTP_STATUSES = {
    "VALIDATION_ERROR": 400,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "VERSION_CONFLICT": 412,
}


class OperationAccepted(FrozenModel):
    """The response to a write that is accepted but not finished: 202."""

    id: UUID
    operation_id: str
    state: OperationState = "pending"


async def publish_command(
    context: RequestContext, event: Event, campaign_id: UUID, *, done: int = 200, repeated: bool
) -> web.Response:
    """Make a command durable; respond with 202, or with its outcome if the client waits for it.

    The 202 to a repeated command has the operation's present state.
    """
    await context.state.durable_publisher.publish(context.build_message(event))
    await store_fingerprint(context, event)
    seconds = parse_wait(context.request)
    if repeated and not seconds:
        operation = await _read_operation(context, event.id)
    else:
        operation = await context.state.operation_waiter.wait_for(event.id, seconds)
    headers = {"Location": f"/api/v1/campaigns/{campaign_id}", **preference_headers(seconds)}
    if operation is None or operation.state == "dead" or not seconds:
        state: OperationState = operation.state if operation else "pending"
        accepted = OperationAccepted(id=campaign_id, operation_id=event.id, state=state)
        return success(context.request_id, accepted, status=202, headers=headers)
    return await _final_response(context, operation, headers, done)


async def _read_operation(context: RequestContext, operation_id: str) -> Operation | None:
    try:
        return await context.state.database.read(find_operation, operation_id)
    except Outage:
        return None


async def _final_response(
    context: RequestContext, operation: Operation, headers: dict[str, str], status: int
) -> web.Response:
    """Respond with the campaign or, as an ``HttpError``, with the error of the operation."""
    if operation.error is not None:
        error = operation.error
        raise HttpError(
            HTTP_STATUSES.get(error.code, 409), error.code, error.message, headers=headers
        )
    result = operation.result
    if result is not None and "version" in result:
        campaign = Campaign.model_validate(result)
        await put_campaigns(context.state.resources.redis, [campaign])
        headers["ETag"] = etag(campaign.version)
    return success(context.request_id, result, status=status, headers=headers)
