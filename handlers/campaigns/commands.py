"""What becomes of a wish about a campaign: pure rules, no I/O.

A wish is granted, which gives the campaign as it is to be, or refused with a code that the
API shows. A request in somebody's name sees only that account's campaigns; one without a
name is an admin's and sees all. What another account has is "not found", so that nobody
learns what exists.
"""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from events import (
    CampaignCommandRejected,
    CampaignCreateRequested,
    CampaignDeleted,
    CampaignDeleteRequested,
    CampaignSaved,
    CampaignUpdateRequested,
)
from events.campaigns import (
    CampaignCommand,
    CampaignCommandRejectedData,
    CampaignDeletedData,
    get_campaign_id,
)
from events.envelope import Event
from events.sources import CAMPAIGNS_SOURCE
from infra.storage.campaigns import CampaignRow, LastCommand
from schemas.currencies import describe_decimals, is_payable
from schemas.operations import Operation, OperationError
from schemas.types import to_micros

CommandResult = CampaignRow | OperationError


MAX_NAMED_VERSIONS = 10  # versions in a message
NOT_FOUND = OperationError(code="NOT_FOUND", message="there is no such campaign")
ID_TAKEN = OperationError(code="CONFLICT", message="this campaign id is taken")


def parse_owner(wish: CampaignCommand) -> UUID | None:
    """Read in whose name a wish is made; raises ``ValueError`` when that is no UUID."""
    return None if wish.ownerid is None else UUID(wish.ownerid)


def apply_command(
    wish: CampaignCommand,
    campaign: CampaignRow | None,
    owner: UUID | None,
    now: datetime,
    arrived: datetime,
) -> CommandResult:
    """Give the campaign as it is to be; the very one given when the wish changes nothing.

    ``campaign`` is what stands under the wish's id, a tombstone too; ``owner`` is the
    account in whose name the wish is made; ``arrived`` is when it was first delivered. Wishes
    count in the order of their arrival, whatever their ``time`` says (issue 10, number 11): a
    deletion that came before the creation deletes nothing, a creation that came after the
    deletion makes the campaign again. Only a change may overtake the creation.
    """
    if isinstance(wish, CampaignCreateRequested):
        return _created(wish, campaign, owner, now, arrived)
    if campaign is None or campaign.deleted_at or owner not in (None, campaign.owner_id):
        return NOT_FOUND
    expected = wish.data.expected_versions or ()
    if wish.data.expected_version is not None:
        expected = (wish.data.expected_version,)
    if expected and campaign.version not in expected:
        named = " or ".join(map(str, expected[:MAX_NAMED_VERSIONS]))
        message = f"the campaign is at version {campaign.version}, not {named}"
        return OperationError(code="VERSION_CONFLICT", message=message)
    if isinstance(wish, CampaignDeleteRequested):
        if arrived < min(now, campaign.created_at):  # only one that was put off may be older
            return NOT_FOUND
        return _renewed(replace(campaign, status="deleted", deleted_at=now), now)
    return _updated(wish, campaign, now)


def to_event(wish: CampaignCommand, verdict: CommandResult) -> Event:
    """Tell the world what became of a wish that changed something or was refused."""
    campaign_id = get_campaign_id(wish)
    about = {"source": CAMPAIGNS_SOURCE, "subject": str(campaign_id)}
    if isinstance(verdict, OperationError):
        refusal = CampaignCommandRejectedData(
            campaign_id=campaign_id, code=verdict.code, message=verdict.message
        )
        return CampaignCommandRejected.caused_by(wish, **about, data=refusal)
    if verdict.deleted_at is None:
        return CampaignSaved.caused_by(wish, **about, data=verdict.desired_state())
    deleted = CampaignDeletedData(
        campaign_id=campaign_id,
        version=verdict.desired_version,
        platform=verdict.platform,
        platform_campaign_id=verdict.platform_campaign_id,
    )
    return CampaignDeleted.caused_by(wish, **about, data=deleted)


def with_last_command(verdict: CampaignRow, wish: CampaignCommand, now: datetime) -> CampaignRow:
    """Note with a campaign that this wish about it was granted, the newest of all so far.

    So it is with a wish that changes nothing: its sender wants what is there.
    """
    last = LastCommand(
        id=wish.id,
        source=wish.source,
        type=wish.type,
        time=wish.time if wish.has_time else None,
        at=now,
        version=verdict.version,
    )
    return replace(verdict, last_command=last)


def to_operation(wish: CampaignCommand, verdict: CommandResult) -> Operation:
    """Tell the wish's sender what became of it, as the API shows it."""
    if isinstance(verdict, OperationError):
        return Operation(id=wish.id, state="refused", error=verdict)
    return Operation(id=wish.id, state="done", result=verdict.to_api().model_dump(mode="json"))


def _created(
    wish: CampaignCreateRequested,
    campaign: CampaignRow | None,
    owner: UUID | None,
    now: datetime,
    arrived: datetime,
) -> CommandResult:
    data = wish.data
    made = CampaignRow(
        id=get_campaign_id(wish),
        owner_id=owner,
        platform=data.platform,
        name=data.name,
        status="pending",
        desired_status="active",
        budget_micros=to_micros(data.budget),
        currency=data.currency,
        targeting=data.targeting,
        created_at=arrived,
        updated_at=now,
    )
    if campaign is None:
        return made
    if campaign.deleted_at is None:
        return campaign if _same(made, campaign) else ID_TAKEN
    return _created_again(made, campaign)


def _created_again(made: CampaignRow, deleted: CampaignRow) -> CommandResult:
    """Make a campaign under the id of one that was deleted before the creation arrived.

    What its platform holds, or is about to delete, goes on under the old platform id, and the
    figures of both are one history; so it must have the same owner and the same platform.
    """
    was_put_off = made.created_at < made.updated_at
    before_deletion = was_put_off and made.created_at < (deleted.deleted_at or made.updated_at)
    if before_deletion or made.owner_id != deleted.owner_id or made.platform != deleted.platform:
        return ID_TAKEN
    version = deleted.version + 1
    return replace(
        made,
        version=version,
        desired_version=version,
        platform_campaign_id=deleted.platform_campaign_id,
        synced_version=deleted.synced_version,
        synced_at=deleted.synced_at,
        status_reported_at=deleted.status_reported_at,
        leased_until=deleted.leased_until,
    )


def _same(made: CampaignRow, held: CampaignRow) -> bool:
    """Tell whether a creation asks for what is there already, so that it may be repeated."""
    told = ("owner_id", "platform", "name", "budget_micros", "currency", "targeting")
    return all(getattr(made, n) == getattr(held, n) for n in told)


def _updated(wish: CampaignUpdateRequested, campaign: CampaignRow, now: datetime) -> CommandResult:
    data = wish.data
    if data.budget is not None and not is_payable(data.budget, campaign.currency):
        message = f"budget: {describe_decimals(campaign.currency)}"
        return OperationError(code="VALIDATION_ERROR", message=message)
    actual = _as_it_runs(campaign)
    wanted = replace(
        actual,
        name=actual.name if data.name is None else data.name,
        budget_micros=actual.budget_micros if data.budget is None else to_micros(data.budget),
        targeting=data.targeting or actual.targeting,
        desired_status=data.status or actual.desired_status,
    )
    if wanted == actual:
        return campaign
    # What was rejected is tried again with the new wish.
    status = "pending" if campaign.status == "rejected" else campaign.status
    return _renewed(replace(wanted, status=status), now)


def _as_it_runs(campaign: CampaignRow) -> CampaignRow:
    """Take over a pause or a start that was made at the platform since the last push.

    So a new budget does not start what was paused there, and a wish to start it is a change.
    """
    synced = campaign.synced_version >= campaign.desired_version
    if synced and campaign.status in ("active", "paused"):
        return replace(campaign, desired_status=campaign.status)
    return campaign


def _renewed(campaign: CampaignRow, now: datetime) -> CampaignRow:
    version = campaign.version + 1
    return replace(campaign, version=version, desired_version=version, updated_at=now)
