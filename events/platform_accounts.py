"""Accounts at the ad platforms: connected with their owner's consent, disconnected again.

Codes travel sealed; tokens do not travel at all.
"""

from typing import ClassVar, Literal
from uuid import UUID

from events.envelope import Event, EventData
from events.users import EncryptedRequest
from schemas.types import Platform


class PlatformConnectRequested(EncryptedRequest):
    """An owner has consented at a platform."""

    type: Literal["platform.connect_requested.v1"] = "platform.connect_requested.v1"


class PlatformDisconnectRequested(EncryptedRequest):
    """An owner takes the consent back."""

    type: Literal["platform.disconnect_requested.v1"] = "platform.disconnect_requested.v1"


class PlatformAccountConnectedData(EventData):
    """Whose account it is, and what its owner allows us to do there."""

    platform: Platform
    user_id: UUID
    scopes: tuple[str, ...] = ()


class PlatformAccountConnected(Event):
    """From now on we act for this owner at the platform."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["platform.account_connected.v1"] = "platform.account_connected.v1"
    data: PlatformAccountConnectedData


class PlatformAccountDisconnectedData(EventData):
    """Whose account it was, and why it is none any more."""

    platform: Platform
    user_id: UUID
    reason: str


class PlatformAccountDisconnected(Event):
    """We act for this owner at the platform no more."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["platform.account_disconnected.v1"] = "platform.account_disconnected.v1"
    data: PlatformAccountDisconnectedData
