"""Accounts at the ad platforms: connected with the owner's consent, disconnected again.

Authorization codes are encrypted for the auth worker; tokens are never part of an event.
"""

from typing import ClassVar, Literal
from uuid import UUID

from events.envelope import Event, EventData
from events.users import EncryptedRequest
from schemas.types import Platform


class PlatformConnectRequested(EncryptedRequest):
    """A user gave consent at a platform; the authorization code can be exchanged for tokens."""

    type: Literal["platform.connect_requested.v1"] = "platform.connect_requested.v1"


class PlatformDisconnectRequested(EncryptedRequest):
    """A user asks to disconnect an account at a platform."""

    type: Literal["platform.disconnect_requested.v1"] = "platform.disconnect_requested.v1"


class PlatformAccountConnectedData(EventData):
    """The owner of the account, and the scopes that the owner granted."""

    platform: Platform
    user_id: UUID
    scopes: tuple[str, ...] = ()


class PlatformAccountConnected(Event):
    """An account at a platform was connected; its owner's campaigns are pushed with its token."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["platform.account_connected.v1"] = "platform.account_connected.v1"
    data: PlatformAccountConnectedData


class PlatformAccountDisconnectedData(EventData):
    """The owner of the account, and why it was disconnected."""

    platform: Platform
    user_id: UUID
    reason: str


class PlatformAccountDisconnected(Event):
    """An account at a platform was disconnected; its tokens are no longer used."""

    routed_by_platform: ClassVar[bool] = True
    type: Literal["platform.account_disconnected.v1"] = "platform.account_disconnected.v1"
    data: PlatformAccountDisconnectedData
