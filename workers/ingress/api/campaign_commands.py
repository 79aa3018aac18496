"""Commands about campaigns: a write becomes an event, and its response an operation (202).

Nothing is written here: the campaigns worker accepts or rejects the command. With
``Prefer: wait=N`` the response is the outcome, if it is known in time.
"""

from typing import Any
from uuid import UUID

from aiohttp import web

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
from infra.security.operation_id import derive_campaign_id
from infra.web.errors import FieldError, invalid, unavailable
from schemas.campaigns import Campaign, CampaignCreate, CampaignUpdate
from schemas.currencies import describe_decimals, is_payable
from workers.ingress.api.campaign_operations import publish_command
from workers.ingress.api.campaigns import get_campaign_for_update
from workers.ingress.api.idempotency import derive_operation_id, is_repeat
from workers.ingress.context import RequestContext
from workers.ingress.http.etags import IfMatch, parse_if_match, precondition_failed
from workers.ingress.http.parsing import read_id, read_model

COMMAND_QUEUE = "campaigns.apply"  # the queue of these commands


async def post_campaign(context: RequestContext) -> web.Response:
    """Create a campaign that belongs to the principal."""
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
    return await publish_command(context, event, campaign_id, done=201, repeated=repeated)


async def patch_campaign(context: RequestContext) -> web.Response:
    """Change a campaign."""
    campaign_id = read_id(context.request, "campaign")
    expected = parse_if_match(context.request, required=True)
    patch = await read_model(context.request, CampaignUpdate)
    changes = {name: value for name, value in patch if value is not None}
    return await _request_update(context, campaign_id, expected, changes)


async def pause_campaign(context: RequestContext) -> web.Response:
    """Pause a campaign."""
    campaign_id = read_id(context.request, "campaign")
    expected = parse_if_match(context.request, required=False)
    return await _request_update(context, campaign_id, expected, {"status": "paused"})


async def resume_campaign(context: RequestContext) -> web.Response:
    """Resume a paused campaign."""
    campaign_id = read_id(context.request, "campaign")
    expected = parse_if_match(context.request, required=False)
    return await _request_update(context, campaign_id, expected, {"status": "active"})


async def delete_campaign(context: RequestContext) -> web.Response:
    """Delete a campaign, here and at its platform."""
    campaign_id = read_id(context.request, "campaign")
    expected = parse_if_match(context.request, required=True)
    event = CampaignDeleteRequested(
        **_event_attributes(context, derive_operation_id(context), campaign_id),
        **_owner_and_actor(context),
        data=CampaignDeleteRequestedData(campaign_id=campaign_id, **expected.versions),
    )
    return await _check_and_publish(context, event, campaign_id, expected)


async def sync_campaign(context: RequestContext) -> web.Response:
    """Push a campaign to its platform again."""
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
    return await publish_command(context, event, campaign_id, repeated=repeated)


async def _request_update(
    context: RequestContext, campaign_id: UUID, expected: IfMatch, changes: dict[str, Any]
) -> web.Response:
    event = CampaignUpdateRequested(
        **_event_attributes(context, derive_operation_id(context), campaign_id),
        **_owner_and_actor(context),
        data=CampaignUpdateRequestedData.model_construct(
            campaign_id=campaign_id, **expected.versions, **changes
        ),
    )
    return await _check_and_publish(context, event, campaign_id, expected)


async def _check_and_publish(
    context: RequestContext, event: Event, campaign_id: UUID, expected: IfMatch
) -> web.Response:
    """Reject a command early that the worker would reject; a repeated one was not, and is not."""
    repeated = await is_repeat(context, event, COMMAND_QUEUE)
    if not repeated:
        campaign = await get_campaign_for_update(context, campaign_id)
        if campaign is not None and not expected.allows(campaign.version):
            raise precondition_failed()
        if campaign is not None and isinstance(event, CampaignUpdateRequested):
            _check_budget(event.data, campaign)
    return await publish_command(context, event, campaign_id, repeated=repeated)


def _check_budget(change: CampaignUpdateRequestedData, campaign: Campaign) -> None:
    budget, currency = change.budget, campaign.currency
    if budget is not None and not is_payable(budget, currency):
        raise invalid([FieldError("budget", describe_decimals(currency))])


def _event_attributes(
    context: RequestContext, operation_id: str, campaign_id: UUID
) -> dict[str, str]:
    named = {"id": operation_id, "source": API_SOURCE, "subject": str(campaign_id)}
    return named | context.ids.trace_attributes


def _owner_and_actor(context: RequestContext) -> dict[str, str]:
    """Return the owner whose campaigns the command may change (any, for an admin) and the actor."""
    if context.principal.is_admin:
        return _actor(context)
    return {"ownerid": str(context.principal.user_id), **_actor(context)}


def _actor(context: RequestContext) -> dict[str, str]:
    """Return the user of an access token, whose role the worker checks again."""
    return {} if context.principal.api_key else {"actorid": str(context.principal.user_id)}
