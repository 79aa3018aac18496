"""Campaigns and events about them, each with what a test wants to be different."""

import datetime as dt
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from events import (
    CampaignCreateRequested,
    CampaignDeleted,
    CampaignDeleteRequested,
    CampaignMetricsReported,
    CampaignSaved,
    CampaignStatusCheckRequested,
    CampaignStatusReported,
    CampaignSynced,
    CampaignSyncRejected,
    CampaignSyncRequested,
    CampaignUpdateRequested,
)
from events.envelope import now
from infra.storage.campaigns import CampaignRow, insert_campaigns, lock_campaigns
from schemas.campaigns import Targeting

API = "urn:adrelay:api"
OWNER = UUID("00000000-0000-4000-8000-000000000001")
STRANGER = UUID("00000000-0000-4000-8000-000000000002")
START = datetime(2026, 11, 22, 8, 0, 0, 123456, tzinfo=UTC)
DAY = dt.date(2026, 11, 22)


def after(seconds: float) -> datetime:
    """Tell the time so many seconds after the start of the story."""
    return START + dt.timedelta(seconds=seconds)


async def put(engine: AsyncEngine, *campaigns: CampaignRow) -> None:
    """Write campaigns."""
    async with engine.begin() as tx:
        await insert_campaigns(tx, campaigns)


async def row(engine: AsyncEngine, campaign_id: UUID) -> CampaignRow:
    """Read a campaign back, tombstones too."""
    async with engine.begin() as tx:
        return (await lock_campaigns(tx, [campaign_id]))[campaign_id]


def stored(**fields: Any) -> CampaignRow:
    """Make a row of ``campaigns``."""
    wanted: dict[str, Any] = {
        "id": uuid4(),
        "owner_id": OWNER,
        "platform": "claude",
        "name": "Autumn",
        "status": "pending",
        "desired_status": "active",
        "budget_micros": 1_500_000,
        "currency": "USD",
        "targeting": Targeting(interests=("tea",), age_range=(18, 65)),
        "created_at": START,
        "updated_at": START,
    }
    return CampaignRow(**wanted | fields)


def running(**fields: Any) -> CampaignRow:
    """Make a campaign that its platform holds and runs."""
    held = {
        "status": "active",
        "platform_campaign_id": f"p-{uuid4().hex[:8]}",
        "version": 2,
        "synced_version": 1,
        "synced_at": START,
        "status_reported_at": START,
    }
    return stored(**held | fields)


def create(
    campaign_id: UUID | None = None,
    *,
    source: str = API,
    owner: UUID | None = OWNER,
    id: str | None = None,  # noqa: A002 - the envelope's name for it
    **data: Any,
) -> CampaignCreateRequested:
    """Ask for a campaign like ``stored()``."""
    wanted = {
        "campaign_id": campaign_id,
        "name": "Autumn",
        "budget": "1.5",
        "platform": "claude",
        "targeting": {"interests": ["tea"], "age_range": [18, 65]},
    }
    return CampaignCreateRequested(**_wish(source, owner, id), data=wanted | data)


def update(
    campaign_id: UUID,
    *,
    source: str = API,
    owner: UUID | None = OWNER,
    time: datetime = START,
    **data: Any,
) -> CampaignUpdateRequested:
    """Ask for a change."""
    wanted = {"campaign_id": campaign_id, **data}
    return CampaignUpdateRequested(**_wish(source, owner, None), time=time, data=wanted)


def delete(
    campaign_id: UUID, *, source: str = API, owner: UUID | None = OWNER, **data: Any
) -> CampaignDeleteRequested:
    """Ask for a deletion."""
    wanted = {"campaign_id": campaign_id, **data}
    return CampaignDeleteRequested(**_wish(source, owner, None), time=START, data=wanted)


def synced(campaign: CampaignRow, *, at: datetime = START, **data: Any) -> CampaignSynced:
    """Say that the platform took a campaign's wish."""
    told = {
        "campaign_id": campaign.id,
        "version": campaign.desired_version,
        "platform": campaign.platform,
        "platform_campaign_id": campaign.platform_campaign_id or f"p-{campaign.id}",
        "status": campaign.desired_status,
    }
    return CampaignSynced(source="urn:adrelay:sync", time=at, data=told | data)


def refused(campaign: CampaignRow, *, at: datetime = START, **data: Any) -> CampaignSyncRejected:
    """Say that the platform refused a campaign's wish."""
    told = {
        "campaign_id": campaign.id,
        "version": campaign.desired_version,
        "platform": campaign.platform,
        "code": "policy",
        "message": "not allowed here",
    }
    return CampaignSyncRejected(source="urn:adrelay:sync", time=at, data=told | data)


def status(
    campaign: CampaignRow, told: str, at: datetime | None, *, time: datetime = START
) -> CampaignStatusReported:
    """Report a status in the platform's name."""
    data = {
        "platform": campaign.platform,
        "platform_campaign_id": campaign.platform_campaign_id,
        "status": told,
        "occurred_at": at,
    }
    return CampaignStatusReported(source="urn:adrelay:webhook:claude", time=time, data=data)


def check(campaign: CampaignRow, *, at: datetime | None = None) -> CampaignStatusCheckRequested:
    """Want the platform to be asked for a status."""
    data = {
        "platform": campaign.platform,
        "platform_campaign_id": campaign.platform_campaign_id,
    }
    source = "urn:adrelay:webhook:claude"
    return CampaignStatusCheckRequested(source=source, time=at or now(), data=data)


def metrics(
    campaign: CampaignRow, impressions: int, *, at: datetime = START, **data: Any
) -> CampaignMetricsReported:
    """Report figures of a campaign's day by the platform's id."""
    told = {
        "platform": campaign.platform,
        "platform_campaign_id": campaign.platform_campaign_id,
        "date": DAY,
        "impressions": impressions,
        "clicks": 0,
        "conversions": 0,
        "spend": 0,
    }
    return CampaignMetricsReported(source="urn:adrelay:webhook:claude", time=at, data=told | data)


def saved(campaign: CampaignRow) -> CampaignSaved:
    """Say that a campaign was saved."""
    return CampaignSaved(source="urn:adrelay:campaigns", data=campaign.desired_state())


def deleted(campaign: CampaignRow) -> CampaignDeleted:
    """Say that a campaign was deleted here."""
    told = {
        "campaign_id": campaign.id,
        "version": campaign.desired_version,
        "platform": campaign.platform,
        "platform_campaign_id": campaign.platform_campaign_id,
    }
    return CampaignDeleted(source="urn:adrelay:campaigns", data=told)


def sync_request(
    campaign: CampaignRow, *, source: str = API, owner: UUID | None = OWNER
) -> CampaignSyncRequested:
    """Ask for another push."""
    told = {"campaign_id": campaign.id, "platform": campaign.platform}
    return CampaignSyncRequested(**_wish(source, owner, None), data=told)


def _wish(source: str, owner: UUID | None, event_id: str | None) -> dict[str, Any]:
    return {
        "source": source,
        "ownerid": None if owner is None else str(owner),
        **({} if event_id is None else {"id": event_id}),
    }
