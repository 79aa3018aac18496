"""What a sync worker makes of a hint that a campaign may have to be pushed: pure rules, no I/O.

A look at a hint ends in one of three ways: there is nobody whom its sender may see
(``CampaignNotFound``), there is nothing to do (``UpToDate``), or the platform has answered
(``Pushed``).
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
from events.envelope import Event
from events.sources import API_SOURCE, SYNC_SOURCE
from handlers.sync.pusher import PushAccepted
from infra.messaging.decoder import event_key
from infra.platforms import Rejected
from infra.storage.campaigns import CampaignRow
from schemas.operations import CAMPAIGN_NOT_FOUND, Operation, OperationError

SyncTrigger = CampaignSaved | CampaignDeleted | CampaignSyncRequested
Campaigns = Mapping[UUID, CampaignRow]


@dataclass(frozen=True, slots=True)
class CampaignNotFound:
    """There is no such campaign, or none that the hint's sender may see."""

    hint: SyncTrigger


@dataclass(frozen=True, slots=True)
class UpToDate:
    """The platform holds the campaign as it is, or another event will see to it."""

    hint: SyncTrigger
    campaign: CampaignRow


@dataclass(frozen=True, slots=True)
class Pushed:
    """The platform took or refused the campaign."""

    hint: SyncTrigger
    campaign: CampaignRow
    answer: PushAccepted | Rejected


SyncDecision = CampaignNotFound | UpToDate | Pushed


def find_visible_campaign(hint: SyncTrigger, held: Campaigns) -> CampaignRow | None:
    """Find the campaign of a hint, if its sender may see it."""
    campaign = held.get(hint.data.campaign_id)
    if campaign is None or campaign.platform != hint.data.platform:
        return None
    if not isinstance(hint, CampaignSyncRequested):
        return campaign
    theirs = hint.ownerid in (None, str(campaign.owner_id))
    gone = hint.source == API_SOURCE and campaign.deleted_at is not None
    return campaign if theirs and not gone else None


def find_campaigns_to_push(
    hints: Sequence[SyncTrigger], held: Campaigns
) -> dict[UUID, SyncTrigger]:
    """Find the campaigns to push, each with its reason: to do it again, or a new version."""
    found: dict[UUID, SyncTrigger] = {}
    for hint in hints:
        campaign = find_visible_campaign(hint, held)
        if campaign is None or _never_left(campaign):
            continue
        if isinstance(hint, CampaignSyncRequested):
            found[campaign.id] = hint
        elif campaign.synced_version < campaign.desired_version:
            found.setdefault(campaign.id, hint)
    return found


def build_idempotency_key(campaign: CampaignRow, reason: SyncTrigger) -> str:
    """Name a push by campaign and version, and by the request where it is to be done again."""
    name = f"{campaign.id}-{campaign.desired_version}"
    return f"{name}-{event_key(reason)}" if isinstance(reason, CampaignSyncRequested) else name


def to_event(look: Pushed) -> Event:
    """Tell the world what the platform said."""
    campaign, answer = look.campaign, look.answer
    about = {"source": SYNC_SOURCE, "subject": str(campaign.id)}
    if isinstance(answer, Rejected):
        refused = CampaignSyncRejectedData(
            campaign_id=campaign.id,
            version=campaign.desired_version,
            platform=campaign.platform,
            code=answer.code,
            message=answer.message,
        )
        return CampaignSyncRejected.caused_by(look.hint, **about, data=refused)
    synced = CampaignSyncedData(
        campaign_id=campaign.id,
        version=campaign.desired_version,
        platform=campaign.platform,
        platform_campaign_id=answer.platform_campaign_id,
        status=answer.status,
    )
    return CampaignSynced.caused_by(look.hint, **about, time=answer.began, data=synced)


def request_resync(hint: SyncTrigger) -> Event:
    """Ask for another push of a campaign."""
    wish = CampaignSyncRequestedData(campaign_id=hint.data.campaign_id, platform=hint.data.platform)
    subject = str(hint.data.campaign_id)
    return CampaignSyncRequested.caused_by(hint, source=SYNC_SOURCE, subject=subject, data=wish)


def to_rejection(look: CampaignNotFound) -> Event:
    """Tell that a request was about no campaign that its sender has."""
    campaign_id = look.hint.data.campaign_id
    refused = CampaignCommandRejectedData(
        campaign_id=campaign_id,
        code=CAMPAIGN_NOT_FOUND.code,
        message=CAMPAIGN_NOT_FOUND.message,
    )
    return CampaignCommandRejected.caused_by(
        look.hint, source=SYNC_SOURCE, subject=str(campaign_id), data=refused
    )


def to_operation(look: SyncDecision) -> Operation:
    """Tell the sender of a request what became of it."""
    if isinstance(look, CampaignNotFound):
        return Operation(id=look.hint.id, state="refused", error=CAMPAIGN_NOT_FOUND)
    if isinstance(look, Pushed) and isinstance(look.answer, Rejected):
        error = OperationError(code=look.answer.code, message=look.answer.message)
        return Operation(id=look.hint.id, state="refused", error=error)
    campaign = look.campaign.to_api().model_dump(mode="json")
    return Operation(id=look.hint.id, state="done", result=campaign)


def _never_left(campaign: CampaignRow) -> bool:
    """Tell whether a campaign was deleted before anybody began to push it."""
    known = campaign.platform_campaign_id or campaign.leased_until
    return campaign.deleted_at is not None and known is None
