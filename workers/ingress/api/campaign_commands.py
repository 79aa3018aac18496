"""Wishes about campaigns: a write becomes an event, and its answer an operation (202).

Nothing is written here: the campaigns worker grants a wish or refuses it. With
``Prefer: wait=N`` the answer is what became of it, if that is known in time.
"""

from typing import Any
from uuid import UUID

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from events import (
    CampaignCreateRequested,
    CampaignDeleteRequested,
    CampaignSyncRequested,
    CampaignUpdateRequested,
)
from events.campaigns import (
    CampaignCreateRequestedData,
    CampaignDeleteRequestedData,
    CampaignSyncRequestedData,
    CampaignUpdateRequestedData,
)
from events.envelope import Event
from events.sources import API_SOURCE
from infra.amqp.message import build_message
from infra.errors import Outage
from infra.security.operation_id import derive_campaign_id
from infra.storage.campaign_cache import put_campaigns
from infra.storage.operations import find_operation
from schemas.campaigns import Campaign, CampaignCreate, CampaignUpdate
from schemas.currencies import describe_decimals, is_payable
from schemas.operations import Operation, OperationState
from schemas.types import FrozenModel
from workers.ingress.api.idempotency import derive_operation_id, is_repeat, store_fingerprint
from workers.ingress.api.visible_campaign import get_campaign_for_update
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import FieldError, HttpError, invalid, unavailable
from workers.ingress.http.etags import IfMatch, etag, parse_if_match, precondition_failed
from workers.ingress.http.parsing import read_id, read_model
from workers.ingress.http.prefer import parse_wait, preference_headers
from workers.ingress.http.responses import success

COMMAND_QUEUE = "campaigns.apply"  # the queue whose worker accepts or rejects these commands
# What the campaigns worker's refusals mean in HTTP; any other is a conflict.
HTTP_STATUSES = {
    "VALIDATION_ERROR": 400,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "VERSION_CONFLICT": 412,
}


class OperationAccepted(FrozenModel):
    """The answer to a write that is on its way: 202."""

    id: UUID
    operation_id: str
    state: OperationState = "pending"


async def post_campaign(context: RequestContext) -> web.Response:
    """Ask for a new campaign, which belongs to the caller."""
    draft = await read_model(context.request, CampaignCreate)
    operation_id = derive_operation_id(context)
    campaign_id = derive_campaign_id(operation_id)
    # The fields have the same types in both; only the id is new.
    creation = CampaignCreateRequestedData.model_construct(campaign_id=campaign_id, **dict(draft))
    event = CampaignCreateRequested(
        **_event_attributes(context, operation_id, campaign_id),
        **_actor(context),
        ownerid=str(context.principal.user_id),
        data=creation,
    )
    repeated = await is_repeat(context, event, COMMAND_QUEUE)
    return await _publish_command(context, event, campaign_id, done=201, repeated=repeated)


async def patch_campaign(context: RequestContext) -> web.Response:
    """Ask for a campaign to be changed."""
    campaign_id = read_id(context.request, "campaign")
    expected = parse_if_match(context.request, required=True)
    patch = await read_model(context.request, CampaignUpdate)
    wanted = {name: value for name, value in patch if value is not None}
    return await _request_update(context, campaign_id, expected, wanted)


async def pause_campaign(context: RequestContext) -> web.Response:
    """Ask for a campaign to be paused."""
    campaign_id = read_id(context.request, "campaign")
    expected = parse_if_match(context.request, required=False)
    return await _request_update(context, campaign_id, expected, {"status": "paused"})


async def resume_campaign(context: RequestContext) -> web.Response:
    """Ask for a paused campaign to run again."""
    campaign_id = read_id(context.request, "campaign")
    expected = parse_if_match(context.request, required=False)
    return await _request_update(context, campaign_id, expected, {"status": "active"})


async def delete_campaign(context: RequestContext) -> web.Response:
    """Ask for a campaign to be deleted, here and at its platform."""
    campaign_id = read_id(context.request, "campaign")
    expected = parse_if_match(context.request, required=True)
    event = CampaignDeleteRequested(
        **_event_attributes(context, derive_operation_id(context), campaign_id),
        **_owner_and_actor(context),
        data=CampaignDeleteRequestedData(campaign_id=campaign_id, **expected.versions),
    )
    return await _check_and_publish(context, event, campaign_id, expected)


async def sync_campaign(context: RequestContext) -> web.Response:
    """Ask for a campaign to be pushed to its platform again."""
    campaign_id = read_id(context.request, "campaign")
    expected = parse_if_match(context.request, required=False)
    campaign = await get_campaign_for_update(context, campaign_id)
    if campaign is None:  # its platform is not known
        raise unavailable("The campaign cannot be read right now.")
    event = CampaignSyncRequested(
        **_event_attributes(context, derive_operation_id(context), campaign_id),
        **_owner_and_actor(context),
        data=CampaignSyncRequestedData(campaign_id=campaign_id, platform=campaign.platform),
    )
    repeated = await is_repeat(context, event, f"sync.{campaign.platform}")
    if not repeated and not expected.allows(campaign.version):
        raise precondition_failed()
    return await _publish_command(context, event, campaign_id, repeated=repeated)


async def _request_update(
    context: RequestContext, campaign_id: UUID, expected: IfMatch, wanted: dict[str, Any]
) -> web.Response:
    event = CampaignUpdateRequested(
        **_event_attributes(context, derive_operation_id(context), campaign_id),
        **_owner_and_actor(context),
        data=CampaignUpdateRequestedData.model_construct(
            campaign_id=campaign_id, **expected.versions, **wanted
        ),
    )
    return await _check_and_publish(context, event, campaign_id, expected)


async def _check_and_publish(
    context: RequestContext, event: Event, campaign_id: UUID, expected: IfMatch
) -> web.Response:
    """Refuse early what is certain to be refused; a write sent again was not, and is not now."""
    repeated = await is_repeat(context, event, COMMAND_QUEUE)
    if not repeated:
        campaign = await get_campaign_for_update(context, campaign_id)
        if campaign is not None and not expected.allows(campaign.version):
            raise precondition_failed()
        if campaign is not None and isinstance(event, CampaignUpdateRequested):
            _check_budget(event.data, campaign)
    return await _publish_command(context, event, campaign_id, repeated=repeated)


def _check_budget(change: CampaignUpdateRequestedData, campaign: Campaign) -> None:
    budget, currency = change.budget, campaign.currency
    if budget is not None and not is_payable(budget, currency):
        raise invalid([FieldError("budget", describe_decimals(currency))])


async def _publish_command(
    context: RequestContext, event: Event, campaign_id: UUID, *, done: int = 200, repeated: bool
) -> web.Response:
    """Make a command durable; answer 202, or what became of it for a client that waits.

    The 202 to a repeated one tells what has become of it so far.
    """
    await context.state.durable_publisher.publish(build_message(event))
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
    async def find(tx: AsyncConnection) -> Operation | None:
        return await find_operation(tx, operation_id)

    try:
        return await context.state.database.read(find)
    except Outage:
        return None


async def _final_response(
    context: RequestContext, operation: Operation, headers: dict[str, str], status: int
) -> web.Response:
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


def _event_attributes(
    context: RequestContext, operation_id: str, campaign_id: UUID
) -> dict[str, str]:
    named = {"id": operation_id, "source": API_SOURCE, "subject": str(campaign_id)}
    return named | context.ids.trace_attributes


def _owner_and_actor(context: RequestContext) -> dict[str, str]:
    """Tell whose campaigns the write may change (an admin's: any), and who asks for it."""
    if context.principal.is_admin:
        return _actor(context)
    return {"ownerid": str(context.principal.user_id), **_actor(context)}


def _actor(context: RequestContext) -> dict[str, str]:
    """Name the account behind an access token, which may be able to do less by now."""
    return {} if context.principal.key else {"actorid": str(context.principal.user_id)}
