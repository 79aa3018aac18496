"""What becomes of news about a campaign from its platform: pure rules, no I/O.

Two orders decide, so that the order of arrival never does. Pushes are ordered by the
version that was pushed. Statuses are ordered by time: that of a push is the moment before
it began, that of a report is when the platform says it happened. Two that contradict each other
at the same time have no order: the platform is asked, and its answer counts with the time of
the question. A deleted campaign stays deleted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from events import (
    CampaignStatusChanged,
    CampaignStatusCheckRequested,
    CampaignStatusReported,
    CampaignSynced,
    CampaignSyncRejected,
    CampaignSyncRequested,
)
from events.campaigns import (
    CampaignStatusChangedData,
    CampaignStatusCheckRequestedData,
    CampaignSyncRequestedData,
)
from events.envelope import Event
from events.sources import CAMPAIGNS_SOURCE, SYNC_SOURCE
from infra.storage.campaigns import CampaignRow
from schemas.campaigns import CampaignStatus

SyncResult = CampaignSynced | CampaignSyncRejected
PlatformUpdate = SyncResult | CampaignStatusReported
Campaigns = Mapping[UUID, CampaignRow]


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A status that news gives a campaign, and since when (UTC).

    An answer is to a question that was asked after everything was known that it may
    contradict; so it is never without order.
    """

    status: CampaignStatus
    at: datetime
    is_answer: bool = False


def apply_sync_result(held: CampaignRow, event: SyncResult) -> CampaignRow:
    """Note what the platform said to a push."""
    noted = _synced(held, event) if isinstance(event, CampaignSynced) else held
    return apply_status(noted, event)


def apply_status(held: CampaignRow, event: PlatformUpdate) -> CampaignRow:
    """Note a status in the platform's name, if it is the newest."""
    told = _status_of(held, event)
    if told is None or is_ambiguous(held, event):
        return held
    known = held.status_reported_at
    if known is not None and (told.at < known or (told.at == known and not told.is_answer)):
        return held
    return replace(held, status=told.status, status_reported_at=told.at)


def is_ambiguous(held: CampaignRow, event: PlatformUpdate) -> bool:
    """Tell whether news contradicts what is known, and nobody can say which is the newer.

    So it is at equal times, and within one second where one of the two is told in whole
    seconds. Only a campaign that its platform has a name for can be asked about.
    """
    told, known = _status_of(held, event), held.status_reported_at
    if told is None or told.is_answer or known is None or told.status == held.status:
        return False
    if isinstance(event, CampaignSyncRejected) and held.platform_campaign_id is None:
        return False
    whole = 0 in (told.at.microsecond, known.microsecond)
    same_second = told.at.replace(microsecond=0) == known.replace(microsecond=0)
    return told.at == known or (whole and same_second)


def is_stale_push(held: CampaignRow, event: SyncResult) -> bool:
    """Tell whether a push may have undone a newer one at the platform."""
    return isinstance(event, CampaignSynced) and event.data.version < held.synced_version


def bump_version(before: CampaignRow, after: CampaignRow, now: datetime) -> CampaignRow:
    """Give ``after`` the next version if the API shows any difference."""
    if before.to_api() == after.to_api():
        return after
    return replace(after, version=before.version + 1, updated_at=now)


def _synced(held: CampaignRow, event: CampaignSynced) -> CampaignRow:
    data = event.data
    if data.version < held.synced_version:
        return held
    return replace(
        held,
        synced_version=data.version,
        synced_at=max(event.time, held.synced_at or event.time),
        platform_campaign_id=data.platform_campaign_id,
    )


def status_changes(
    held: Campaigns, standing: Campaigns, causes: Mapping[UUID, PlatformUpdate]
) -> list[Event]:
    """Tell the world which statuses are others now than when they were ``held``."""
    changed = [c for c in standing.values() if c.status != held[c.id].status]
    return [
        CampaignStatusChanged.caused_by(
            causes[campaign.id],
            source=CAMPAIGNS_SOURCE,
            subject=str(campaign.id),
            data=CampaignStatusChangedData(
                campaign_id=campaign.id,
                version=campaign.version,
                platform=campaign.platform,
                status=campaign.status,
                previous=held[campaign.id].status,
            ),
        )
        for campaign in changed
    ]


def request_resync(push: SyncResult) -> Event:
    """Ask for another push of the campaign that ``push`` was about."""
    campaign_id = push.data.campaign_id
    return CampaignSyncRequested.caused_by(
        push,
        source=CAMPAIGNS_SOURCE,
        subject=str(campaign_id),
        data=CampaignSyncRequestedData(campaign_id=campaign_id, platform=push.data.platform),
    )


def request_status_check(news: PlatformUpdate, campaign: CampaignRow) -> Event:
    """Ask for a look at the platform, because ``news`` has no order."""
    name = campaign.platform_campaign_id or ""
    return CampaignStatusCheckRequested.caused_by(
        news,
        source=CAMPAIGNS_SOURCE,
        subject=name,
        data=CampaignStatusCheckRequestedData(
            platform=campaign.platform, platform_campaign_id=name
        ),
    )


def _status_of(held: CampaignRow, event: PlatformUpdate) -> StatusUpdate | None:
    """Tell what status news gives; None where it gives none that could count."""
    if held.deleted_at is not None:
        return None
    if isinstance(event, CampaignStatusReported):
        at = event.data.occurred_at or event.time
        return StatusUpdate(event.data.status, at, is_answer=event.source == SYNC_SOURCE)
    if isinstance(event, CampaignSyncRejected):
        # An older wish no longer matters.
        is_old = event.data.version < held.desired_version
        return None if is_old else StatusUpdate("rejected", event.time)
    if event.data.version < held.synced_version or event.data.status == "deleted":
        return None  # What is not deleted here was created again since.
    return StatusUpdate(event.data.status, event.time)
