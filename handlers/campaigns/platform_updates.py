"""Applies updates from ad platforms to campaigns: pure rules, no I/O.

The order of arrival has no effect. Results of pushes are ordered by the version that was pushed.
Statuses are ordered by time: that of a push is the moment before it began, that of a report is when
the platform says that it happened. Two different statuses at the same time are ambiguous: the
platform is asked, and its answer counts with the time of the question. A deleted campaign stays
deleted.
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
from infra.storage.campaigns import CampaignRow, CampaignsById
from schemas.campaigns import CampaignStatus

SyncResult = CampaignSynced | CampaignSyncRejected
PlatformUpdate = SyncResult | CampaignStatusReported


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """A new status of a campaign, and since when (UTC).

    The answer of a status check is never ambiguous: the platform was asked after every update that
    it may contradict.
    """

    status: CampaignStatus
    at: datetime
    is_answer: bool = False


def apply_sync_result(row: CampaignRow, event: SyncResult) -> CampaignRow:
    """Apply the result of a push."""
    synced = _apply_synced(row, event) if isinstance(event, CampaignSynced) else row
    return apply_status(synced, event)


def apply_status(row: CampaignRow, event: PlatformUpdate) -> CampaignRow:
    """Apply the status of an update if it is the newest."""
    update = _parse_status(row, event)
    if update is None or is_ambiguous(row, event):
        return row
    known = row.status_reported_at
    if known is not None and (update.at < known or (update.at == known and not update.is_answer)):
        return row
    return replace(row, status=update.status, status_reported_at=update.at)


def is_ambiguous(row: CampaignRow, event: PlatformUpdate) -> bool:
    """Return whether an update contradicts the known status and their order is unknown.

    That is so at equal times, and within one second if one of the two times is in whole seconds.
    A campaign without a platform id is never ambiguous, because its platform cannot be asked.
    """
    update, known = _parse_status(row, event), row.status_reported_at
    if update is None or update.is_answer or known is None or update.status == row.status:
        return False
    if isinstance(event, CampaignSyncRejected) and row.platform_campaign_id is None:
        return False
    whole = 0 in (update.at.microsecond, known.microsecond)
    same_second = update.at.replace(microsecond=0) == known.replace(microsecond=0)
    return update.at == known or (whole and same_second)


def is_stale_push(row: CampaignRow, event: SyncResult) -> bool:
    """Return whether a push may have overwritten a newer one at the platform."""
    return isinstance(event, CampaignSynced) and event.data.version < row.synced_version


def bump_version(before: CampaignRow, after: CampaignRow, now: datetime) -> CampaignRow:
    """Return ``after``, with the next version if the API returns any difference."""
    if before.to_api() == after.to_api():
        return after
    return replace(after, version=before.version + 1, updated_at=now)


def _apply_synced(row: CampaignRow, event: CampaignSynced) -> CampaignRow:
    data = event.data
    if data.version < row.synced_version:
        return row
    return replace(
        row,
        synced_version=data.version,
        synced_at=max(event.time, row.synced_at or event.time),
        platform_campaign_id=data.platform_campaign_id,
    )


def status_changes(
    before: CampaignsById, current: CampaignsById, causes: Mapping[UUID, PlatformUpdate]
) -> list[Event]:
    """Build the events of the campaigns whose status changed, by the update that changed it."""
    changed = [c for c in current.values() if c.status != before[c.id].status]
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
                previous=before[campaign.id].status,
            ),
        )
        for campaign in changed
    ]


def request_resync(push: SyncResult) -> Event:
    """Build the request for another push of the campaign of ``push``."""
    campaign_id = push.data.campaign_id
    return CampaignSyncRequested.caused_by(
        push,
        source=CAMPAIGNS_SOURCE,
        subject=str(campaign_id),
        data=CampaignSyncRequestedData(campaign_id=campaign_id, platform=push.data.platform),
    )


def request_status_check(update: PlatformUpdate, campaign: CampaignRow) -> Event:
    """Build the request for a status check, because ``update`` is ambiguous."""
    name = campaign.platform_campaign_id or ""
    return CampaignStatusCheckRequested.caused_by(
        update,
        source=CAMPAIGNS_SOURCE,
        subject=name,
        data=CampaignStatusCheckRequestedData(
            platform=campaign.platform, platform_campaign_id=name
        ),
    )


def _parse_status(row: CampaignRow, event: PlatformUpdate) -> StatusUpdate | None:
    """Return the status of an update; None when it has none that may apply."""
    if row.deleted_at is not None:
        return None
    if isinstance(event, CampaignStatusReported):
        at = event.data.occurred_at or event.time
        return StatusUpdate(event.data.status, at, is_answer=event.source == SYNC_SOURCE)
    if isinstance(event, CampaignSyncRejected):
        # A rejection of an older version does not apply.
        is_old = event.data.version < row.desired_version
        return None if is_old else StatusUpdate("rejected", event.time)
    if event.data.version < row.synced_version or event.data.status == "deleted":
        return None  # The campaign exists here: it was created again since.
    return StatusUpdate(event.data.status, event.time)
