"""What a sandbox platform's own module tells: its paths, its words, how it signs.

These modules are the other side of ``infra.platforms``: they read what the clients write
and write what the clients read, so that client and sandbox share shapes but no code.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from infra.sandbox.campaigns import Campaign, DailyMetrics, DesiredCampaign
from schemas.campaigns import ReportedStatus

Action = Literal["create", "update", "pause", "resume", "delete", "status"]
# Method, path below the platform's prefix, and what it means.
Routes = Sequence[tuple[str, str, Action]]


class Dialect(Protocol):
    """A module of this package. Whatever reads a body raises ``ValueError``."""

    ID_PREFIX: str
    TOKEN_PATH: str
    AUTHORIZE_PATH: str
    REVOKE_PATH: str
    # The word in which parameter asks for a refresh token; None where there is always one.
    OFFLINE: tuple[str, str] | None
    ROUTES: Routes
    STATES: Mapping[ReportedStatus, str]
    BUNDLE: int

    def credentials(self, headers: Mapping[str, str], form: Mapping[str, str]) -> tuple[str, str]:
        """Find client id and secret in a token request."""

    def key_of(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
        """Find the idempotency key of a call."""

    def parse_campaign(self, body: bytes) -> DesiredCampaign:
        """Read the body of a create or an update."""

    def campaign(self, campaign: Campaign) -> dict[str, Any]:
        """Show a campaign."""

    def fault(self, status: int, code: str, message: str) -> dict[str, Any]:
        """Say what is wrong; ``code`` is an upper-case word."""

    def body(self, delivery: str, news: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Put news, ``BUNDLE`` pieces at most, into the body of one webhook."""

    def sign(
        self, secrets: Sequence[str], delivery: str, timestamp: int, body: bytes
    ) -> dict[str, str]:
        """Make the headers that prove a webhook; raises ``ValueError`` without a usable key."""


def build_status_webhook(campaign_id: str, state: str, occurred_at: str) -> dict[str, Any]:
    """Tell a change of status, in the words that all webhooks share."""
    data = {"campaignId": campaign_id, "status": state, "occurredAt": occurred_at}
    return {"event": "campaign.status_changed", "data": data}


def build_metrics_webhook(campaign_id: str, figures: DailyMetrics) -> dict[str, Any]:
    """Tell the totals of a day, in the words that all webhooks share."""
    data = {
        "campaignId": campaign_id,
        "date": figures.date,
        "impressions": figures.impressions,
        "clicks": figures.clicks,
        "conversions": figures.conversions,
        "spend": figures.spend_micros / 1_000_000,
    }
    return {"event": "campaign.metrics_updated", "data": data}
