"""Decides which campaigns to push and which event reports the outcome: pure rules, no I/O.

A sync trigger has one of three outcomes: its campaign is not found or its sender may not see it,
the platform is up to date, or the campaign was pushed and the platform took or rejected it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from events import (
    CampaignCommandRejected,
    CampaignDeleted,
    CampaignSaved,
    CampaignSynced,
    CampaignSyncRejected,
    CampaignSyncRequested,
)
from events.campaigns import (
    CampaignCommandRejectedData,
    CampaignSyncedData,
    CampaignSyncRejectedData,
    CampaignSyncRequestedData,
)
from events.envelope import Event, new_id
from events.sources import API_SOURCE, SYNC_SOURCE
from handlers.sync.pusher import PushResult
from infra.messaging.decoder import event_key
from infra.platforms import Rejected
from infra.storage.campaigns import CampaignRow
from schemas.operations import CAMPAIGN_NOT_FOUND, Operation, OperationError

SyncTrigger = CampaignSaved | CampaignDeleted | CampaignSyncRequested
Campaigns = Mapping[UUID, CampaignRow]


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """The event to emit and the operation to complete because of one trigger, where there is one.

    ``pushed`` is the campaign that was pushed: several triggers may report the same push, whose
    event is emitted once.
    """

    event: Event | None
    operation: Operation | None
    pushed: UUID | None = None


def find_visible_campaign(trigger: SyncTrigger, campaigns: Campaigns) -> CampaignRow | None:
    """Find the campaign of a trigger, if its sender may see it."""
    campaign = campaigns.get(trigger.data.campaign_id)
    if campaign is None or campaign.platform != trigger.data.platform:
        return None
    if not isinstance(trigger, CampaignSyncRequested):
        return campaign
    is_owner = trigger.ownerid in (None, str(campaign.owner_id))
    is_hidden = trigger.source == API_SOURCE and campaign.deleted_at is not None
    return campaign if is_owner and not is_hidden else None


def find_campaigns_to_push(
    triggers: Sequence[SyncTrigger], campaigns: Campaigns
) -> dict[UUID, SyncTrigger]:
    """Find the campaigns to push, each with its trigger: a sync request, or a new version."""
    found: dict[UUID, SyncTrigger] = {}
    for trigger in triggers:
        campaign = find_visible_campaign(trigger, campaigns)
        if campaign is None or _was_never_pushed(campaign):
            continue
        if isinstance(trigger, CampaignSyncRequested):
            found[campaign.id] = trigger
        elif campaign.synced_version < campaign.desired_version:
            found.setdefault(campaign.id, trigger)
    return found


def build_idempotency_key(campaign: CampaignRow, trigger: SyncTrigger) -> str:
    """Build the key of a push from campaign and version, and from a sync request's event."""
    key = f"{campaign.id}-{campaign.desired_version}"
    return f"{key}-{event_key(trigger)}" if isinstance(trigger, CampaignSyncRequested) else key


def report_not_found(trigger: SyncTrigger) -> SyncOutcome:
    """Reject a request for a campaign that its sender may not see."""
    campaign_id, error = trigger.data.campaign_id, CAMPAIGN_NOT_FOUND
    data = CampaignCommandRejectedData(
        campaign_id=campaign_id, code=error.code, message=error.message
    )
    event = CampaignCommandRejected.caused_by(
        trigger, source=SYNC_SOURCE, subject=str(campaign_id), data=data
    )
    return SyncOutcome(event, _reject_operation(trigger, error))


def report_up_to_date(trigger: SyncTrigger, campaign: CampaignRow) -> SyncOutcome:
    """Report that the platform is up to date, or that another event will push the campaign."""
    return SyncOutcome(None, _complete_operation(trigger, campaign))


def report_push(
    trigger: SyncTrigger, campaign: CampaignRow, result: PushResult | Rejected
) -> SyncOutcome:
    """Report that the platform has taken or rejected a campaign."""
    event = _build_push_event(trigger, campaign, result)
    if isinstance(result, Rejected):
        error = OperationError(code=result.code, message=result.message)
        return SyncOutcome(event, _reject_operation(trigger, error), campaign.id)
    return SyncOutcome(event, _complete_operation(trigger, campaign), campaign.id)


def request_resync(trigger: SyncTrigger) -> Event:
    """Request another push of a campaign; one trigger may need several, so each has a fresh id."""
    campaign_id = trigger.data.campaign_id
    data = CampaignSyncRequestedData(campaign_id=campaign_id, platform=trigger.data.platform)
    about = {"id": new_id(), "subject": str(campaign_id)}
    return CampaignSyncRequested.caused_by(trigger, source=SYNC_SOURCE, **about, data=data)


def _build_push_event(
    trigger: SyncTrigger, campaign: CampaignRow, result: PushResult | Rejected
) -> Event:
    envelope = {"source": SYNC_SOURCE, "subject": str(campaign.id)}
    if isinstance(result, Rejected):
        rejected = CampaignSyncRejectedData(
            campaign_id=campaign.id,
            version=campaign.desired_version,
            platform=campaign.platform,
            code=result.code,
            message=result.message,
        )
        return CampaignSyncRejected.caused_by(trigger, **envelope, data=rejected)
    synced = CampaignSyncedData(
        campaign_id=campaign.id,
        version=campaign.desired_version,
        platform=campaign.platform,
        platform_campaign_id=result.platform_campaign_id,
        status=result.status,
    )
    return CampaignSynced.caused_by(trigger, **envelope, time=result.started_at, data=synced)


def _complete_operation(trigger: SyncTrigger, campaign: CampaignRow) -> Operation | None:
    if not _has_operation(trigger):
        return None
    return Operation(id=trigger.id, state="done", result=campaign.to_api().model_dump(mode="json"))


def _reject_operation(trigger: SyncTrigger, error: OperationError) -> Operation | None:
    return (
        Operation(id=trigger.id, state="refused", error=error) if _has_operation(trigger) else None
    )


def _has_operation(trigger: SyncTrigger) -> bool:
    return isinstance(trigger, CampaignSyncRequested) and trigger.source == API_SOURCE


def _was_never_pushed(campaign: CampaignRow) -> bool:
    """Tell whether a campaign was deleted before any push of it started."""
    known = campaign.platform_campaign_id or campaign.leased_until
    return campaign.deleted_at is not None and known is None
