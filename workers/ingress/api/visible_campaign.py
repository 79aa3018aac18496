"""Finding a campaign for a caller: the cache, then Postgres; another's is not there at all."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.errors import Outage
from infra.storage.campaign_cache import get_campaign, put_campaigns
from infra.storage.campaigns import find_campaign
from schemas.campaigns import Campaign
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import not_found, unavailable


async def get_visible_campaign(context: RequestContext, campaign_id: UUID) -> Campaign:
    """Give a campaign that the caller may see, perhaps a copy of it that is a moment old.

    Raises a ``Refusal``: 404, or 503 when there is no copy and Postgres is gone.
    """
    redis = context.state.resources.redis
    campaign = await get_campaign(redis, campaign_id)
    if campaign is None:
        try:
            campaign = await _read_campaign(context, campaign_id)
        except Outage:
            raise unavailable("The campaign cannot be read right now.") from None
        if campaign is not None:
            await put_campaigns(redis, [campaign])
    return _require_visible(context, campaign)


async def get_campaign_for_update(context: RequestContext, campaign_id: UUID) -> Campaign | None:
    """Give a campaign as it stands in Postgres, before a write that wants to change it.

    Without Postgres it is the cached copy, or None when nothing is known: the campaigns
    worker checks once more, and it is the one who decides. Raises a ``Refusal`` (404).
    """
    try:
        return _require_visible(context, await _read_campaign(context, campaign_id))
    except Outage:
        cached = await get_campaign(context.state.resources.redis, campaign_id)
        return _require_visible(context, cached) if cached else None


async def _read_campaign(context: RequestContext, campaign_id: UUID) -> Campaign | None:
    async def find(tx: AsyncConnection) -> Campaign | None:
        return await find_campaign(tx, campaign_id)

    return await context.state.database.read(find)


def _require_visible(context: RequestContext, campaign: Campaign | None) -> Campaign:
    if campaign is None or not context.principal.may_see(campaign.owner_id):
        raise not_found("campaign")
    return campaign
