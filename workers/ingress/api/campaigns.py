"""Campaigns and their daily figures, and the lookup of a campaign that a principal may see.

A campaign of another account is reported as not found, so that its existence is not revealed.
"""

import datetime as dt
from typing import Annotated
from uuid import UUID

from aiohttp import web
from pydantic import Field, ValidationInfo, field_validator

from infra.errors import Outage
from infra.storage import campaign_cache
from infra.storage.campaigns import find_campaign, list_campaigns
from infra.storage.metrics import list_daily_metrics
from infra.web.errors import not_found, unavailable
from infra.web.responses import success
from schemas.campaigns import Campaign, CampaignStatus
from schemas.times import AnyDay
from schemas.types import FrozenModel, Platform
from workers.ingress.api.page_response import page_response
from workers.ingress.context import RequestContext
from workers.ingress.http.etags import etag, is_not_modified, parse_if_match, precondition_failed
from workers.ingress.http.pagination import PageQuery
from workers.ingress.http.parsing import read_id, read_query

CACHE_CONTROL = "private, no-cache"  # a stored copy must be revalidated (RFC 9111, 5.2.2.4)


class CampaignQuery(PageQuery):
    """Filters of the list of campaigns."""

    platform: Platform | None = None
    status: CampaignStatus | None = None


class MetricsQuery(FrozenModel):
    """A range of days (UTC), both inclusive; an absent end is open."""

    since: Annotated[AnyDay | None, Field(alias="from")] = None
    until: Annotated[AnyDay | None, Field(alias="to")] = None

    @field_validator("until")
    @classmethod
    def _in_order(cls, until: dt.date | None, info: ValidationInfo) -> dt.date | None:
        since = info.data.get("since")
        if since and until and since > until:
            message = "must not be before from"
            raise ValueError(message)
        return until


async def get_campaigns(context: RequestContext) -> web.Response:
    """List the principal's campaigns by page, the newest first; an admin sees all."""
    query = read_query(context.request, CampaignQuery)
    owner = None if context.principal.is_admin else context.principal.user_id
    return await page_response(
        context, query, "Campaigns", list_campaigns, owner=owner, **query.model_dump()
    )


async def get_campaign(context: RequestContext) -> web.Response:
    """Return a campaign, or 304 when the client has this version."""
    campaign_id = read_id(context.request, "campaign")
    expected = parse_if_match(context.request, required=False)
    campaign = await get_visible_campaign(context, campaign_id)
    if not expected.match.allows(campaign.version):
        raise precondition_failed()
    headers = {"ETag": etag(campaign.version), "Cache-Control": CACHE_CONTROL}
    if is_not_modified(context.request, campaign.version):
        return web.Response(status=304, headers=headers)
    return success(context.request_id, campaign, headers=headers)


async def get_metrics(context: RequestContext) -> web.Response:
    """Return a campaign's figures by day."""
    query = read_query(context.request, MetricsQuery)
    campaign = await get_visible_campaign(context, read_id(context.request, "campaign"))
    figures = await context.read(
        "Figures", list_daily_metrics, campaign.id, query.since, query.until
    )
    return success(context.request_id, figures)


async def get_visible_campaign(context: RequestContext, campaign_id: UUID) -> Campaign:
    """Return a campaign that the principal may see, from the cache or from Postgres.

    A cached copy may be a moment old. Raises an ``HttpError``: 404, or 503 when the campaign is
    not cached and Postgres is down.
    """
    redis = context.state.resources.redis
    campaign = await campaign_cache.get_campaign(redis, campaign_id)
    if campaign is None:
        try:
            campaign = await context.state.database.read(find_campaign, campaign_id)
        except Outage:
            raise unavailable("The campaign cannot be read right now.") from None
        if campaign is not None:
            await campaign_cache.put_campaigns(redis, [campaign])
    return _require_visible(context, campaign)


async def get_campaign_for_update(context: RequestContext, campaign_id: UUID) -> Campaign | None:
    """Return a campaign as it is in Postgres, to check a command about it.

    While Postgres is down, returns the cached copy, or None when there is none: the campaigns
    worker checks the command again, and its result counts. Raises an ``HttpError`` (404).
    """
    try:
        campaign = await context.state.database.read(find_campaign, campaign_id)
    except Outage:
        cached = await campaign_cache.get_campaign(context.state.resources.redis, campaign_id)
        return _require_visible(context, cached) if cached else None
    return _require_visible(context, campaign)


def _require_visible(context: RequestContext, campaign: Campaign | None) -> Campaign:
    if campaign is None or not context.principal.may_see(campaign.owner_id):
        raise not_found("campaign")
    return campaign
