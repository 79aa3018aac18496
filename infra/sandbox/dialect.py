"""What the module of a sandbox platform provides: its paths, formats and signatures.

These modules are the other side of ``infra.platforms``: they parse what the clients write and
write what the clients parse, so client and sandbox share schemas but no code.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from infra.sandbox.campaigns import DesiredCampaign, SandboxCampaign, SandboxMetrics
from schemas.campaigns import ReportedStatus

CampaignAction = Literal["create", "update", "pause", "resume", "delete", "status"]
# Method, path below the platform's prefix, and its action.
Routes = Sequence[tuple[str, str, CampaignAction]]


class SandboxDialect(Protocol):
    """A module of this package. Parsers raise ``ValueError``."""

    ID_PREFIX: str
    TOKEN_PATH: str
    AUTHORIZE_PATH: str
    REVOKE_PATH: str
    # Parameter and value that request a refresh token; None where there is always one.
    OFFLINE: tuple[str, str] | None
    ROUTES: Routes
    STATES: Mapping[ReportedStatus, str]
    BUNDLE: int

    def credentials(self, headers: Mapping[str, str], form: Mapping[str, str]) -> tuple[str, str]:
        """Read client id and secret of a token request."""

    def key_of(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        """Read the idempotency key of a request."""

    def parse_campaign(self, body: bytes) -> DesiredCampaign:
        """Parse the body of a create or an update."""

    def campaign(self, campaign: SandboxCampaign) -> dict[str, Any]:
        """Write a campaign."""

    def fault(self, status: int, code: str, message: str) -> dict[str, Any]:
        """Write an error; ``code`` is an upper-case word."""

    def body(self, delivery: str, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Write at most ``BUNDLE`` events as the body of one webhook."""

    def sign(
        self, secrets: Sequence[str], delivery: str, timestamp: int, body: bytes
    ) -> dict[str, str]:
        """Build the signature headers; raises ``ValueError`` without a usable key."""


def build_status_webhook(campaign_id: str, state: str, occurred_at: str) -> dict[str, Any]:
    """Build the event of a status change, in the format of all platforms."""
    data = {"campaignId": campaign_id, "status": state, "occurredAt": occurred_at}
    return {"event": "campaign.status_changed", "data": data}


def build_metrics_webhook(campaign_id: str, figures: SandboxMetrics) -> dict[str, Any]:
    """Build the event of a day's totals, in the format of all platforms."""
    data = {
        "campaignId": campaign_id,
        "date": figures.date,
        "impressions": figures.impressions,
        "clicks": figures.clicks,
        "conversions": figures.conversions,
        "spend": figures.spend_micros / 1_000_000,
    }
    return {"event": "campaign.metrics_updated", "data": data}
