"""Reading campaigns and their figures."""

import datetime as dt
from typing import Annotated

from aiohttp import web
from pydantic import Field, ValidationInfo, field_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.campaigns import list_campaigns
from infra.storage.metrics import list_daily_metrics
from schemas.campaigns import Campaign, CampaignStatus
from schemas.metrics import DailyMetrics
from schemas.times import AnyDay
from schemas.types import FrozenModel, Platform
from workers.ingress.api.page_response import page_response
from workers.ingress.api.visible_campaign import get_visible_campaign
from workers.ingress.context import RequestContext
from workers.ingress.http.etags import etag, is_not_modified, parse_if_match, precondition_failed
from workers.ingress.http.pagination import PageQuery
from workers.ingress.http.parsing import read_id, read_query
from workers.ingress.http.responses import success

# Whoever keeps a copy has to ask whether it is still the newest.
CACHE_CONTROL = "private, no-cache"


class CampaignQuery(PageQuery):
    """Which campaigns to list."""

    platform: Platform | None = None
    status: CampaignStatus | None = None


class MetricsQuery(FrozenModel):
    """Which days (UTC), both included; without an end all before or after."""

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
    """Answer a page of the caller's campaigns (an admin's: of all), the newest first."""
    query = read_query(context.request, CampaignQuery)
    owner = None if context.principal.is_admin else context.principal.user_id

    async def find(tx: AsyncConnection) -> tuple[list[Campaign], int]:
        return await list_campaigns(tx, owner=owner, **query.model_dump())

    return await page_response(context, query, find, "Campaigns")


async def get_campaign(context: RequestContext) -> web.Response:
    """Answer a campaign, or 304 when the client has this version."""
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
    """Answer a campaign's figures by day."""
    query = read_query(context.request, MetricsQuery)
    campaign = await get_visible_campaign(context, read_id(context.request, "campaign"))

    async def find(tx: AsyncConnection) -> list[DailyMetrics]:
        return await list_daily_metrics(tx, campaign.id, query.since, query.until)

    return success(context.request_id, await context.read(find, "Figures"))
