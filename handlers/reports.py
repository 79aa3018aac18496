"""What becomes of news about a campaign from its platform: pure rules, no I/O.

Two orders decide, so that the order of arrival never does. Pushes are ordered by the
version that was pushed. Statuses are ordered by time: that of a push is the moment before
it began, that of a report is when the platform says it happened; of two at the same time
the one nearer to the end of a campaign's life counts. A deleted campaign stays deleted.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from events import (
    CampaignStatusChanged,
    CampaignStatusReported,
    CampaignSynced,
    CampaignSyncRefused,
    CampaignSyncRequested,
)
from events.base import Event
from events.campaigns import CampaignToSync, ChangedCampaignStatus
from infra.store.campaigns import StoredCampaign
from schemas.campaigns import CampaignStatus

Push = CampaignSynced | CampaignSyncRefused
News = Push | CampaignStatusReported
Campaigns = Mapping[UUID, StoredCampaign]

SOURCE = "urn:adrelay:campaigns"
RANK: dict[CampaignStatus, int] = {
    "pending": 0,
    "active": 1,
    "paused": 2,
    "rejected": 3,
    "completed": 4,
    "deleted": 5,
}


def pushed(held: StoredCampaign, event: Push) -> StoredCampaign:
    """Note what the platform said to a push."""
    if isinstance(event, CampaignSynced):
        return _synced(held, event)
    if event.data.version < held.wanted_version:
        return held  # An older wish no longer matters.
    return _with_status(held, "rejected", event.time)


def overtaken(held: StoredCampaign, event: Push) -> bool:
    """Tell whether a push may have undone a newer one at the platform."""
    return isinstance(event, CampaignSynced) and event.data.version < held.synced_version


def status_reported(held: StoredCampaign, event: CampaignStatusReported) -> StoredCampaign:
    """Note a status in the platform's name, if it is the newest."""
    return _with_status(held, event.data.status, event.data.occurred_at or event.time)


def bumped(before: StoredCampaign, after: StoredCampaign, now: datetime) -> StoredCampaign:
    """Give ``after`` the next version if the API shows any difference."""
    if before.shown() == after.shown():
        return after
    return replace(after, version=before.version + 1, updated_at=now)


def _synced(held: StoredCampaign, event: CampaignSynced) -> StoredCampaign:
    data = event.data
    if data.version < held.synced_version:
        return held
    noted = replace(
        held,
        synced_version=data.version,
        synced_at=max(event.time, held.synced_at or event.time),
        platform_campaign_id=data.platform_campaign_id,
    )
    if data.status == "deleted" and held.deleted_at is None:
        return noted  # It was created again since; the push of that tells its status.
    return _with_status(noted, data.status, event.time)


def status_changes(
    held: Campaigns, standing: Campaigns, causes: Mapping[UUID, News]
) -> list[Event]:
    """Tell the world which statuses are others now than when they were ``held``."""
    changed = [c for c in standing.values() if c.status != held[c.id].status]
    return [
        CampaignStatusChanged.caused_by(
            causes[campaign.id],
            source=SOURCE,
            subject=str(campaign.id),
            data=ChangedCampaignStatus(
                campaign_id=campaign.id,
                version=campaign.version,
                platform=campaign.platform,
                status=campaign.status,
                previous=held[campaign.id].status,
            ),
        )
        for campaign in changed
    ]


def sync_again(push: Push) -> Event:
    """Ask for another push of the campaign that ``push`` was about."""
    campaign_id = push.data.campaign_id
    return CampaignSyncRequested.caused_by(
        push,
        source=SOURCE,
        subject=str(campaign_id),
        data=CampaignToSync(campaign_id=campaign_id, platform=push.data.platform),
    )


def _with_status(held: StoredCampaign, status: CampaignStatus, at: datetime) -> StoredCampaign:
    if held.deleted_at is not None:
        return held
    known = held.status_reported_at
    if known is not None and (at, RANK[status]) <= (known, RANK[held.status]):
        return held
    return replace(held, status=status, status_reported_at=at)
