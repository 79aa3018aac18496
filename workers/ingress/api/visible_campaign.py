"""Finding a campaign for a caller: the cache, then Postgres; another's is not there at all."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from infra.errors import Outage
from infra.storage.campaign_cache import get_campaign, put_campaigns
from infra.storage.campaigns import find_campaign
from schemas.campaigns import Campaign
from workers.ingress.http.errors import not_found, unavailable
from workers.ingress.http.request import Call


async def get_visible_campaign(call: Call, campaign_id: UUID) -> Campaign:
    """Give a campaign that the caller may see, perhaps a copy of it that is a moment old.

    Raises a ``Refusal``: 404, or 503 when there is no copy and Postgres is gone.
    """
    redis = call.gate.resources.redis
    campaign = await get_campaign(redis, campaign_id)
    if campaign is None:
        try:
            campaign = await _read_campaign(call, campaign_id)
        except Outage:
            raise unavailable("The campaign cannot be read right now.") from None
        if campaign is not None:
            await put_campaigns(redis, [campaign])
    return _require_visible(call, campaign)


async def get_campaign_for_update(call: Call, campaign_id: UUID) -> Campaign | None:
    """Give a campaign as it stands in Postgres, before a write that wants to change it.

    Without Postgres it is the cached copy, or None when nothing is known: the campaigns
    worker checks once more, and it is the one who decides. Raises a ``Refusal`` (404).
    """
    try:
        return _require_visible(call, await _read_campaign(call, campaign_id))
    except Outage:
        cached = await get_campaign(call.gate.resources.redis, campaign_id)
        return _require_visible(call, cached) if cached else None


async def _read_campaign(call: Call, campaign_id: UUID) -> Campaign | None:
    async def find(tx: AsyncConnection) -> Campaign | None:
        return await find_campaign(tx, campaign_id)

    return await call.gate.database.read(find)


def _require_visible(call: Call, campaign: Campaign | None) -> Campaign:
    if campaign is None or not call.caller.may_see(campaign.owner_id):
        raise not_found("campaign")
    return campaign
