"""Event types: one frozen class for each, listed in ``EVENTS``."""

from events.api_keys import ApiKeyCreateRequested, ApiKeyRevokeRequested
from events.audit import AuditRecorded
from events.campaigns import (
    CampaignCommandRejected,
    CampaignCreateRequested,
    CampaignDeleted,
    CampaignDeleteRequested,
    CampaignSaved,
    CampaignStatusChanged,
    CampaignStatusCheckRequested,
    CampaignStatusReported,
    CampaignSynced,
    CampaignSyncRejected,
    CampaignSyncRequested,
    CampaignUpdateRequested,
)
from events.envelope import Event
from events.metrics import CampaignMetricsRecorded, CampaignMetricsReported
from events.platform_accounts import (
    PlatformAccountConnected,
    PlatformAccountDisconnected,
    PlatformConnectRequested,
    PlatformDisconnectRequested,
)
from events.users import (
    LoginRequested,
    LogoutRequested,
    PasswordChangeRequested,
    RefreshRequested,
    RegistrationRequested,
    SessionEndRequested,
    SessionRevoked,
    SessionStarted,
    UserPasswordChanged,
    UserRegistered,
    UserRoleChanged,
    UserRoleChangeRequested,
)
from events.webhooks import WebhookUnrecognised

__all__ = [
    "AUTH_REQUESTS",
    "EVENTS",
    "EVENT_TYPES",
    "INGRESS_EVENTS",
    "UPSTREAM_EVENTS",
    "ApiKeyCreateRequested",
    "ApiKeyRevokeRequested",
    "AuditRecorded",
    "CampaignCommandRejected",
    "CampaignCreateRequested",
    "CampaignDeleteRequested",
    "CampaignDeleted",
    "CampaignMetricsRecorded",
    "CampaignMetricsReported",
    "CampaignSaved",
    "CampaignStatusChanged",
    "CampaignStatusCheckRequested",
    "CampaignStatusReported",
    "CampaignSyncRejected",
    "CampaignSyncRequested",
    "CampaignSynced",
    "CampaignUpdateRequested",
    "Event",
    "LoginRequested",
    "LogoutRequested",
    "PasswordChangeRequested",
    "PlatformAccountConnected",
    "PlatformAccountDisconnected",
    "PlatformConnectRequested",
    "PlatformDisconnectRequested",
    "RefreshRequested",
    "RegistrationRequested",
    "SessionEndRequested",
    "SessionRevoked",
    "SessionStarted",
    "UserPasswordChanged",
    "UserRegistered",
    "UserRoleChangeRequested",
    "UserRoleChanged",
    "WebhookUnrecognised",
]

EVENTS: tuple[type[Event], ...] = (
    RegistrationRequested,
    LoginRequested,
    RefreshRequested,
    LogoutRequested,
    SessionEndRequested,
    PasswordChangeRequested,
    ApiKeyCreateRequested,
    ApiKeyRevokeRequested,
    UserRoleChangeRequested,
    UserRegistered,
    UserRoleChanged,
    UserPasswordChanged,
    SessionStarted,
    SessionRevoked,
    AuditRecorded,
    CampaignCreateRequested,
    CampaignUpdateRequested,
    CampaignDeleteRequested,
    CampaignSaved,
    CampaignDeleted,
    CampaignCommandRejected,
    CampaignSyncRequested,
    CampaignSynced,
    CampaignSyncRejected,
    CampaignStatusReported,
    CampaignStatusCheckRequested,
    CampaignStatusChanged,
    CampaignMetricsReported,
    CampaignMetricsRecorded,
    PlatformConnectRequested,
    PlatformDisconnectRequested,
    PlatformAccountConnected,
    PlatformAccountDisconnected,
    WebhookUnrecognised,
)

EVENT_TYPES: dict[str, type[Event]] = {event.event_type(): event for event in EVENTS}

# Events that upstream systems may publish, over AMQP or POST /api/v1/events.
UPSTREAM_EVENTS: tuple[type[Event], ...] = (
    CampaignCreateRequested,
    CampaignUpdateRequested,
    CampaignDeleteRequested,
    CampaignMetricsReported,
)

# Requests of the ingress to the auth worker, on the exchange adrelay.requests.
AUTH_REQUESTS = (
    LoginRequested,
    RefreshRequested,
    LogoutRequested,
    SessionEndRequested,
    PasswordChangeRequested,
    ApiKeyCreateRequested,
    ApiKeyRevokeRequested,
    UserRoleChangeRequested,
    PlatformConnectRequested,
    PlatformDisconnectRequested,
)

# Events that the ingress publishes on adrelay.events; its broker user may publish no others.
INGRESS_EVENTS: tuple[type[Event], ...] = (
    *UPSTREAM_EVENTS,
    RegistrationRequested,
    CampaignSyncRequested,
    CampaignStatusReported,
    CampaignStatusCheckRequested,
    WebhookUnrecognised,
)
