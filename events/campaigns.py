"""Events in the life of a campaign: requested, saved, synced to its platform, changed, deleted."""

from typing import Annotated, ClassVar, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import Field

from events.envelope import CloudEventAttribute, Event, EventData
from schemas.campaigns import (
    CampaignBudget,
    CampaignName,
    CampaignStatus,
    ReportedStatus,
    Targeting,
)
from schemas.currencies import Currency
from schemas.times import OffsetDatetime
from schemas.types import INT64_MAX, Micros, Platform

DesiredStatus = Literal["active", "paused"]


class CampaignRequest(Event):
    """A request about a campaign: the base of the commands and of ``CampaignSyncRequested``.

    Two extension attributes, which the ingress sets, say on whose behalf it is made.
    ``ownerid`` is the account that owns the campaign; without it a new campaign belongs to
    the admins, and a change is made with the rights of an admin. ``actorid`` is the account
    whose access token made the request; its rights are checked when the request is handled.
    ``actorid`` is used only in events from ``urn:adrelay:api``.
    """

    ownerid: CloudEventAttribute | None = None
    actorid: CloudEventAttribute | None = None


class CampaignCreateRequestedData(EventData):
    """The campaign to create; ``budget`` in currency units.

    A missing ``campaign_id`` is derived from the event (``get_campaign_id``).
    """

    campaign_id: UUID | None = None
    name: CampaignName
    currency: Currency = "USD"
    budget: CampaignBudget
    platform: Platform
    targeting: Targeting


class CampaignCreateRequested(CampaignRequest):
    """An upstream system or a user asks to create a campaign."""

    type: Literal["campaign.create_requested.v1"] = "campaign.create_requested.v1"
    data: CampaignCreateRequestedData


CampaignVersion = Annotated[int, Field(ge=1, le=INT64_MAX)]
# As many as an HTTP header can hold.
ExpectedVersions = Annotated[tuple[CampaignVersion, ...], Field(min_length=1, max_length=3000)]


class CampaignUpdateRequestedData(EventData):
    """The fields to change; with ``expected_version`` only if the campaign has that version.

    ``expected_versions`` allows one of several (``If-Match: "2", "9"``).
    """

    campaign_id: UUID
    expected_version: int | None = Field(default=None, ge=1, le=INT64_MAX)
    expected_versions: ExpectedVersions | None = None
    name: CampaignName | None = None
    budget: CampaignBudget | None = None
    targeting: Targeting | None = None
    status: DesiredStatus | None = None


class CampaignUpdateRequested(CampaignRequest):
    """An upstream system or a user asks to change, pause or resume a campaign."""

    type: Literal["campaign.update_requested.v1"] = "campaign.update_requested.v1"
    data: CampaignUpdateRequestedData


class CampaignDeleteRequestedData(EventData):
    """The campaign to delete; the expected versions work as in an update."""

    campaign_id: UUID
    expected_version: int | None = Field(default=None, ge=1, le=INT64_MAX)
    expected_versions: ExpectedVersions | None = None


class CampaignDeleteRequested(CampaignRequest):
    """An upstream system or a user asks to delete a campaign."""

    type: Literal["campaign.delete_requested.v1"] = "campaign.delete_requested.v1"
    data: CampaignDeleteRequestedData


CampaignCommand = CampaignCreateRequested | CampaignUpdateRequested | CampaignDeleteRequested


def get_campaign_id(command: CampaignCommand) -> UUID:
    """Return the campaign id of a command; without one, a UUIDv5 of the event's source and id.

    The separator is a control character, which neither source nor id can contain.
    """
    named = command.data.campaign_id
    return named or uuid5(NAMESPACE_URL, f"{command.source}\n{command.id}")


class CampaignSavedData(EventData):
    """The saved campaign; ``status`` is the desired status at the platform."""

    campaign_id: UUID
    version: int
    platform: Platform
    name: str
    budget_micros: Micros
    currency: str
    targeting: Targeting
    status: DesiredStatus
    platform_campaign_id: str | None = None


class CampaignSaved(Event):
    """A version of a campaign was saved here and has to be pushed to its platform."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["campaign.saved.v1"] = "campaign.saved.v1"
    data: CampaignSavedData


class CampaignDeletedData(EventData):
    """The deleted campaign; ``platform_campaign_id`` is None if it was never created there."""

    campaign_id: UUID
    version: int
    platform: Platform
    platform_campaign_id: str | None = None


class CampaignDeleted(Event):
    """A campaign was deleted here and has to be deleted at its platform."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["campaign.deleted.v1"] = "campaign.deleted.v1"
    data: CampaignDeletedData


class CampaignCommandRejectedData(EventData):
    """Why a command was rejected."""

    campaign_id: UUID
    code: str
    message: str


class CampaignCommandRejected(Event):
    """A command about a campaign was rejected by a business rule; this is not a failure."""

    type: Literal["campaign.command_rejected.v1"] = "campaign.command_rejected.v1"
    data: CampaignCommandRejectedData


class CampaignSyncRequestedData(EventData):
    """The campaign to push to its platform again."""

    campaign_id: UUID
    platform: Platform


class CampaignSyncRequested(CampaignRequest):
    """A user, an admin or a worker asks to push a campaign to its platform again."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["campaign.sync_requested.v1"] = "campaign.sync_requested.v1"
    data: CampaignSyncRequestedData


class CampaignSyncedData(EventData):
    """The version of a campaign that its platform has accepted."""

    campaign_id: UUID
    version: int
    platform: Platform
    platform_campaign_id: str
    status: CampaignStatus


class CampaignSynced(Event):
    """The platform accepted a version of a campaign."""

    type: Literal["campaign.synced.v1"] = "campaign.synced.v1"
    data: CampaignSyncedData


class CampaignSyncRejectedData(EventData):
    """Why the platform rejected a version of a campaign."""

    campaign_id: UUID
    version: int
    platform: Platform
    code: str
    message: str


class CampaignSyncRejected(Event):
    """The platform rejected a version of a campaign: a business outcome, not a failure."""

    type: Literal["campaign.sync_rejected.v1"] = "campaign.sync_rejected.v1"
    data: CampaignSyncRejectedData


class CampaignStatusReportedData(EventData):
    """The status of a campaign at its platform; ``occurred_at`` is by the platform's clock, UTC."""

    platform: Platform
    platform_campaign_id: CloudEventAttribute
    status: ReportedStatus
    occurred_at: OffsetDatetime | None = None


class CampaignStatusReported(Event):
    """The platform reported the status of a campaign."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["campaign.status_reported.v1"] = "campaign.status_reported.v1"
    data: CampaignStatusReportedData


class CampaignStatusCheckRequestedData(EventData):
    """The campaign whose status is to be read at its platform, by the platform's id."""

    platform: Platform
    platform_campaign_id: CloudEventAttribute


class CampaignStatusCheckRequested(Event):
    """A reported status has no usable time: the platform is asked for the current one."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["campaign.status_check_requested.v1"] = "campaign.status_check_requested.v1"
    data: CampaignStatusCheckRequestedData


class CampaignStatusChangedData(EventData):
    """The new status of a campaign, and the one before."""

    campaign_id: UUID
    version: int
    platform: Platform
    status: CampaignStatus
    previous: CampaignStatus


class CampaignStatusChanged(Event):
    """A campaign's status changed."""

    type: Literal["campaign.status_changed.v1"] = "campaign.status_changed.v1"
    data: CampaignStatusChangedData
