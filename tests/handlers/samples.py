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
    """Return the time ``seconds`` after ``START``."""
    return START + dt.timedelta(seconds=seconds)


async def put(engine: AsyncEngine, *campaigns: CampaignRow) -> None:
    """Insert campaigns."""
    async with engine.begin() as tx:
        await insert_campaigns(tx, campaigns)


async def row(engine: AsyncEngine, campaign_id: UUID) -> CampaignRow:
    """Read a row, tombstones too."""
    async with engine.begin() as tx:
        return (await lock_campaigns(tx, [campaign_id]))[campaign_id]


def stored(**fields: Any) -> CampaignRow:
    """Build a campaign that was not pushed yet."""
    content: dict[str, Any] = {
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
    return CampaignRow(**content | fields)


def running(**fields: Any) -> CampaignRow:
    """Build a campaign that is active at its platform."""
    content = {
        "status": "active",
        "platform_campaign_id": f"p-{uuid4().hex[:8]}",
        "version": 2,
        "synced_version": 1,
        "synced_at": START,
        "status_reported_at": START,
    }
    return stored(**content | fields)


def create(
    campaign_id: UUID | None = None,
    *,
    source: str = API,
    owner: UUID | None = OWNER,
    id: str | None = None,  # noqa: A002 - the envelope's name for it
    **data: Any,
) -> CampaignCreateRequested:
    """Build the command that creates a campaign like ``stored()``."""
    content = {
        "campaign_id": campaign_id,
        "name": "Autumn",
        "budget": "1.5",
        "platform": "claude",
        "targeting": {"interests": ["tea"], "age_range": [18, 65]},
    }
    return CampaignCreateRequested(**_attributes(source, owner, id), data=content | data)


def update(
    campaign_id: UUID,
    *,
    source: str = API,
    owner: UUID | None = OWNER,
    time: datetime = START,
    **data: Any,
) -> CampaignUpdateRequested:
    """Build a command that updates a campaign."""
    content = {"campaign_id": campaign_id, **data}
    return CampaignUpdateRequested(**_attributes(source, owner, None), time=time, data=content)


def delete(
    campaign_id: UUID, *, source: str = API, owner: UUID | None = OWNER, **data: Any
) -> CampaignDeleteRequested:
    """Build a command that deletes a campaign."""
    content = {"campaign_id": campaign_id, **data}
    return CampaignDeleteRequested(**_attributes(source, owner, None), time=START, data=content)


def synced(campaign: CampaignRow, *, at: datetime = START, **data: Any) -> CampaignSynced:
    """Report that the platform accepted a push."""
    content = {
        "campaign_id": campaign.id,
        "version": campaign.desired_version,
        "platform": campaign.platform,
        "platform_campaign_id": campaign.platform_campaign_id or f"p-{campaign.id}",
        "status": campaign.desired_status,
    }
    return CampaignSynced(source="urn:adrelay:sync", time=at, data=content | data)


def rejected(campaign: CampaignRow, *, at: datetime = START, **data: Any) -> CampaignSyncRejected:
    """Report that the platform rejected a push."""
    content = {
        "campaign_id": campaign.id,
        "version": campaign.desired_version,
        "platform": campaign.platform,
        "code": "policy",
        "message": "not allowed here",
    }
    return CampaignSyncRejected(source="urn:adrelay:sync", time=at, data=content | data)


def status(
    campaign: CampaignRow, reported: str, at: datetime | None, *, time: datetime = START
) -> CampaignStatusReported:
    """Report a status at the platform."""
    data = {
        "platform": campaign.platform,
        "platform_campaign_id": campaign.platform_campaign_id,
        "status": reported,
        "occurred_at": at,
    }
    return CampaignStatusReported(source="urn:adrelay:webhook:claude", time=time, data=data)


def check(campaign: CampaignRow, *, at: datetime | None = None) -> CampaignStatusCheckRequested:
    """Build a request for a status check."""
    data = {
        "platform": campaign.platform,
        "platform_campaign_id": campaign.platform_campaign_id,
    }
    source = "urn:adrelay:webhook:claude"
    return CampaignStatusCheckRequested(source=source, time=at or now(), data=data)


def metrics(
    campaign: CampaignRow, impressions: int, *, at: datetime = START, **data: Any
) -> CampaignMetricsReported:
    """Report the metrics of a campaign's day by the platform's id."""
    content = {
        "platform": campaign.platform,
        "platform_campaign_id": campaign.platform_campaign_id,
        "date": DAY,
        "impressions": impressions,
        "clicks": 0,
        "conversions": 0,
        "spend": 0,
    }
    return CampaignMetricsReported(
        source="urn:adrelay:webhook:claude", time=at, data=content | data
    )


def saved(campaign: CampaignRow) -> CampaignSaved:
    """Report that a campaign was saved."""
    return CampaignSaved(source="urn:adrelay:campaigns", data=campaign.desired_state())


def deleted(campaign: CampaignRow) -> CampaignDeleted:
    """Report that a campaign was deleted here."""
    content = {
        "campaign_id": campaign.id,
        "version": campaign.desired_version,
        "platform": campaign.platform,
        "platform_campaign_id": campaign.platform_campaign_id,
    }
    return CampaignDeleted(source="urn:adrelay:campaigns", data=content)


def sync_request(
    campaign: CampaignRow, *, source: str = API, owner: UUID | None = OWNER
) -> CampaignSyncRequested:
    """Build a request for another push."""
    content = {"campaign_id": campaign.id, "platform": campaign.platform}
    return CampaignSyncRequested(**_attributes(source, owner, None), data=content)


def _attributes(source: str, owner: UUID | None, event_id: str | None) -> dict[str, Any]:
    return {
        "source": source,
        "ownerid": None if owner is None else str(owner),
        **({} if event_id is None else {"id": event_id}),
    }
