"""The life of a campaign: asked for, saved, synced to its platform, changed, deleted."""

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
    """A wish about a campaign; ``ownerid`` is the account it is made for.

    ``ownerid`` is an extension attribute that the ingress sets; without it a campaign
    belongs to nobody but the admins, and a change is made in an admin's name. ``actorid`` is
    the account whose access token asked for it: what it may do is found out when it is done.
    The ingress sets it; it counts in events from ``urn:adrelay:api`` alone.
    """

    ownerid: CloudEventAttribute | None = None
    actorid: CloudEventAttribute | None = None


class CampaignCreateRequestedData(EventData):
    """A wanted campaign; ``budget`` in currency units; a missing id follows from the event's."""

    campaign_id: UUID | None = None
    name: CampaignName
    currency: Currency = "USD"
    budget: CampaignBudget
    platform: Platform
    targeting: Targeting


class CampaignCreateRequested(CampaignRequest):
    """An upstream system or a user wants a campaign."""

    type: Literal["campaign.create_requested.v1"] = "campaign.create_requested.v1"
    data: CampaignCreateRequestedData


CampaignVersion = Annotated[int, Field(ge=1, le=INT64_MAX)]
# A header of HTTP holds no more of them.
ExpectedVersions = Annotated[tuple[CampaignVersion, ...], Field(min_length=1, max_length=3000)]


class CampaignUpdateRequestedData(EventData):
    """What is to change; ``expected_version`` refuses the change if another came first.

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
    """An upstream system or a user wants a campaign changed, paused or resumed."""

    type: Literal["campaign.update_requested.v1"] = "campaign.update_requested.v1"
    data: CampaignUpdateRequestedData


class CampaignDeleteRequestedData(EventData):
    """Which campaign is to go."""

    campaign_id: UUID
    expected_version: int | None = Field(default=None, ge=1, le=INT64_MAX)
    expected_versions: ExpectedVersions | None = None


class CampaignDeleteRequested(CampaignRequest):
    """An upstream system or a user wants a campaign deleted."""

    type: Literal["campaign.delete_requested.v1"] = "campaign.delete_requested.v1"
    data: CampaignDeleteRequestedData


CampaignCommand = CampaignCreateRequested | CampaignUpdateRequested | CampaignDeleteRequested


def get_campaign_id(command: CampaignCommand) -> UUID:
    """Tell which campaign a command is about; without an id it follows from source and id.

    The separator is a control character, which neither of them may hold.
    """
    named = command.data.campaign_id
    return named or uuid5(NAMESPACE_URL, f"{command.source}\n{command.id}")


class CampaignSavedData(EventData):
    """A campaign as saved; ``status`` is what its owner wants the platform to do."""

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
    """A campaign stands in the database in this version and wants to reach its platform."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["campaign.saved.v1"] = "campaign.saved.v1"
    data: CampaignSavedData


class CampaignDeletedData(EventData):
    """A campaign that is gone here and has to go there."""

    campaign_id: UUID
    version: int
    platform: Platform
    platform_campaign_id: str | None = None


class CampaignDeleted(Event):
    """A campaign was deleted here and wants to be deleted at its platform."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["campaign.deleted.v1"] = "campaign.deleted.v1"
    data: CampaignDeletedData


class CampaignCommandRejectedData(EventData):
    """Why a wish was not granted."""

    campaign_id: UUID
    code: str
    message: str


class CampaignCommandRejected(Event):
    """A wish about a campaign was refused, by a rule and not by a fault."""

    type: Literal["campaign.command_rejected.v1"] = "campaign.command_rejected.v1"
    data: CampaignCommandRejectedData


class CampaignSyncRequestedData(EventData):
    """A campaign that is to be pushed to its platform again."""

    campaign_id: UUID
    platform: Platform


class CampaignSyncRequested(CampaignRequest):
    """Somebody wants a campaign pushed to its platform again."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["campaign.sync_requested.v1"] = "campaign.sync_requested.v1"
    data: CampaignSyncRequestedData


class CampaignSyncedData(EventData):
    """A version of a campaign that its platform holds."""

    campaign_id: UUID
    version: int
    platform: Platform
    platform_campaign_id: str
    status: CampaignStatus


class CampaignSynced(Event):
    """The platform took a version of a campaign."""

    type: Literal["campaign.synced.v1"] = "campaign.synced.v1"
    data: CampaignSyncedData


class CampaignSyncRejectedData(EventData):
    """Why the platform did not take a version of a campaign."""

    campaign_id: UUID
    version: int
    platform: Platform
    code: str
    message: str


class CampaignSyncRejected(Event):
    """The platform refused a version of a campaign: a business matter, no failure."""

    type: Literal["campaign.sync_rejected.v1"] = "campaign.sync_rejected.v1"
    data: CampaignSyncRejectedData


class CampaignStatusReportedData(EventData):
    """A status in the platform's name; ``occurred_at`` is the platform's clock, UTC."""

    platform: Platform
    platform_campaign_id: CloudEventAttribute
    status: ReportedStatus
    occurred_at: OffsetDatetime | None = None


class CampaignStatusReported(Event):
    """The platform says in what state a campaign is."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["campaign.status_reported.v1"] = "campaign.status_reported.v1"
    data: CampaignStatusReportedData


class CampaignStatusCheckRequestedData(EventData):
    """A campaign whose platform is to be asked for its status, by the platform's id."""

    platform: Platform
    platform_campaign_id: CloudEventAttribute


class CampaignStatusCheckRequested(Event):
    """News of a campaign's status has no order: its platform is to be asked."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["campaign.status_check_requested.v1"] = "campaign.status_check_requested.v1"
    data: CampaignStatusCheckRequestedData


class CampaignStatusChangedData(EventData):
    """A change of status that took effect here."""

    campaign_id: UUID
    version: int
    platform: Platform
    status: CampaignStatus
    previous: CampaignStatus


class CampaignStatusChanged(Event):
    """A campaign's status changed."""

    type: Literal["campaign.status_changed.v1"] = "campaign.status_changed.v1"
    data: CampaignStatusChangedData
