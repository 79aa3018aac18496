"""Applies commands to campaigns: pure rules, no I/O.

A command is accepted, which gives the new row of its campaign, or rejected with an error that the
API returns. A command on behalf of an account reaches that account's campaigns only; one without
an account is an admin's and reaches all. Campaigns of other accounts are reported as not found, so
that nobody learns whether they exist.
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
from schemas.operations import CAMPAIGN_NOT_FOUND, Operation, OperationError
from schemas.types import to_micros

CommandResult = CampaignRow | OperationError

MAX_NAMED_VERSIONS = 10  # versions in an error message
ID_TAKEN = OperationError(code="CONFLICT", message="this campaign id is taken")


def parse_owner(command: CampaignCommand) -> UUID | None:
    """Parse the account that a command acts for; raises ``ValueError`` when it is no UUID."""
    return None if command.ownerid is None else UUID(command.ownerid)


def apply_command(
    command: CampaignCommand,
    campaign: CampaignRow | None,
    owner: UUID | None,
    now: datetime,
    arrived: datetime,
) -> CommandResult:
    """Return the new row of the campaign, ``campaign`` itself if nothing changes, or an error.

    ``campaign`` is the row with the id of the command, which may be a tombstone; ``owner`` is the
    account that the command acts for; ``arrived`` is when it was first delivered (UTC). Commands
    take effect in the order of their arrival, whatever their ``time`` (issue 10, number 11): a
    deletion before the creation deletes nothing, a creation after the deletion creates the campaign
    again. Only an update may overtake the creation.
    """
    if isinstance(command, CampaignCreateRequested):
        return _create(command, campaign, owner, now, arrived)
    if campaign is None or campaign.deleted_at or owner not in (None, campaign.owner_id):
        return CAMPAIGN_NOT_FOUND
    expected = command.data.expected_versions or ()
    if command.data.expected_version is not None:
        expected = (command.data.expected_version,)
    if expected and campaign.version not in expected:
        named = " or ".join(map(str, expected[:MAX_NAMED_VERSIONS]))
        message = f"the campaign is at version {campaign.version}, not {named}"
        return OperationError(code="VERSION_CONFLICT", message=message)
    if isinstance(command, CampaignDeleteRequested):
        if arrived < min(now, campaign.created_at):  # a delayed one from before the creation
            return CAMPAIGN_NOT_FOUND
        return _next_desired_version(replace(campaign, status="deleted", deleted_at=now), now)
    return _update(command, campaign, now)


def to_event(command: CampaignCommand, result: CommandResult) -> Event:
    """Build the event of a command that changed its campaign or was rejected."""
    campaign_id = get_campaign_id(command)
    about = {"source": CAMPAIGNS_SOURCE, "subject": str(campaign_id)}
    if isinstance(result, OperationError):
        rejected = CampaignCommandRejectedData(
            campaign_id=campaign_id, code=result.code, message=result.message
        )
        return CampaignCommandRejected.caused_by(command, **about, data=rejected)
    if result.deleted_at is None:
        return CampaignSaved.caused_by(command, **about, data=result.desired_state())
    deleted = CampaignDeletedData(
        campaign_id=campaign_id,
        version=result.desired_version,
        platform=result.platform,
        platform_campaign_id=result.platform_campaign_id,
    )
    return CampaignDeleted.caused_by(command, **about, data=deleted)


def with_last_command(result: CampaignRow, command: CampaignCommand, now: datetime) -> CampaignRow:
    """Record in the row that this is the newest accepted command for its campaign.

    A command that changes nothing counts too: its sender wants the present state.
    """
    last = LastCommand(
        id=command.id,
        source=command.source,
        type=command.type,
        time=command.time if command.has_time else None,
        at=now,
        version=result.version,
    )
    return replace(result, last_command=last)


def to_operation(command: CampaignCommand, result: CommandResult) -> Operation:
    """Build the operation of a command, which the API returns to its sender."""
    if isinstance(result, OperationError):
        return Operation(id=command.id, state="refused", error=result)
    return Operation(id=command.id, state="done", result=result.to_api().model_dump(mode="json"))


def _create(
    command: CampaignCreateRequested,
    campaign: CampaignRow | None,
    owner: UUID | None,
    now: datetime,
    arrived: datetime,
) -> CommandResult:
    data = command.data
    created = CampaignRow(
        id=get_campaign_id(command),
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
        return created
    if campaign.deleted_at is None:
        return campaign if _is_repeat(created, campaign) else ID_TAKEN
    return _recreate(created, campaign)


def _recreate(created: CampaignRow, deleted: CampaignRow) -> CommandResult:
    """Create a campaign under the id of one that was deleted before the creation arrived.

    The campaign at the platform, or its pending deletion, continues under the old platform id, and
    the metrics of both are one history; so owner and platform must be the same.
    """
    was_delayed = created.created_at < created.updated_at
    before_deletion = was_delayed and created.created_at < (
        deleted.deleted_at or created.updated_at
    )
    if (
        before_deletion
        or created.owner_id != deleted.owner_id
        or created.platform != deleted.platform
    ):
        return ID_TAKEN
    version = deleted.version + 1
    return replace(
        created,
        version=version,
        desired_version=version,
        platform_campaign_id=deleted.platform_campaign_id,
        synced_version=deleted.synced_version,
        synced_at=deleted.synced_at,
        status_reported_at=deleted.status_reported_at,
        leased_until=deleted.leased_until,
    )


def _is_repeat(created: CampaignRow, existing: CampaignRow) -> bool:
    """Return whether a creation asks for the campaign that exists: it is a repeated request."""
    given = ("owner_id", "platform", "name", "budget_micros", "currency", "targeting")
    return all(getattr(created, n) == getattr(existing, n) for n in given)


def _update(
    command: CampaignUpdateRequested, campaign: CampaignRow, now: datetime
) -> CommandResult:
    data = command.data
    if data.budget is not None and not is_payable(data.budget, campaign.currency):
        message = f"budget: {describe_decimals(campaign.currency)}"
        return OperationError(code="VALIDATION_ERROR", message=message)
    actual = _adopt_platform_status(campaign)
    desired = replace(
        actual,
        name=actual.name if data.name is None else data.name,
        budget_micros=actual.budget_micros if data.budget is None else to_micros(data.budget),
        targeting=data.targeting or actual.targeting,
        desired_status=data.status or actual.desired_status,
    )
    if desired == actual:
        return campaign
    # A campaign that its platform rejected is pushed again with the new desired state.
    status = "pending" if campaign.status == "rejected" else campaign.status
    return _next_desired_version(replace(desired, status=status), now)


def _adopt_platform_status(campaign: CampaignRow) -> CampaignRow:
    """Make a pause or start at the platform since the last push the desired status.

    So a new budget does not start a campaign that was paused there, and a command to start it is a
    change.
    """
    synced = campaign.synced_version >= campaign.desired_version
    if synced and campaign.status in ("active", "paused"):
        return replace(campaign, desired_status=campaign.status)
    return campaign


def _next_desired_version(campaign: CampaignRow, now: datetime) -> CampaignRow:
    version = campaign.version + 1
    return replace(campaign, version=version, desired_version=version, updated_at=now)
