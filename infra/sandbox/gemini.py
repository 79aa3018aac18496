"""Simulates the API and the webhooks of Gemini Ads."""

from collections.abc import Mapping, Sequence
from typing import Any

from infra.sandbox.campaigns import DesiredCampaign, SandboxCampaign
from infra.sandbox.dialect import Routes
from infra.security import standard_webhooks
from schemas import gemini
from schemas.campaigns import ReportedStatus

ID_PREFIX = ""
TOKEN_PATH = "/token"  # noqa: S105 - a path
AUTHORIZE_PATH = "/o/oauth2/auth"
REVOKE_PATH = "/revoke"
OFFLINE: tuple[str, str] | None = ("access_type", "offline")
ROUTES: Routes = (
    ("POST", "/v1/campaigns", "create"),
    ("GET", "/v1/campaigns/{id}", "status"),
    ("PATCH", "/v1/campaigns/{id}", "update"),
    ("DELETE", "/v1/campaigns/{id}", "delete"),
    ("POST", "/v1/campaigns/{id}:pause", "pause"),
    ("POST", "/v1/campaigns/{id}:enable", "resume"),
)
STATES: Mapping[ReportedStatus, str] = {ours: word for word, ours in gemini.STATUSES.items()}
BUNDLE = 50


def credentials(headers: Mapping[str, str], form: Mapping[str, str]) -> tuple[str, str]:  # noqa: ARG001
    """Read the client credentials from the form."""
    return form.get("client_id", ""), form.get("client_secret", "")


def key_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:  # noqa: ARG001
    """Read the idempotency key from the query."""
    return query.get("requestId")


def parse_campaign(body: bytes) -> DesiredCampaign:
    """Parse a mutation."""
    payload = gemini.GeminiCampaignMutation.model_validate_json(body).campaign
    return DesiredCampaign(
        name=payload.display_name,
        budget_micros=int(payload.budget_micros),
        currency=payload.currency_code,
        interests=payload.targeting.interest_categories,
        ages=(payload.targeting.age_range.min, payload.targeting.age_range.max),
        status=gemini.STATUSES[payload.serving_state],
        reference=payload.labels.reference,
        version=payload.labels.version,
    )


def campaign(campaign: SandboxCampaign) -> dict[str, Any]:
    """Write a campaign as a resource."""
    desired = campaign.desired
    return {
        "resourceName": f"campaigns/{campaign.id}",
        "displayName": desired.name,
        "budgetMicros": str(desired.budget_micros),
        "currencyCode": desired.currency,
        "servingState": STATES[campaign.status],
        "targeting": {
            "interestCategories": desired.interests,
            "ageRange": {"min": desired.ages[0], "max": desired.ages[1]},
        },
        "labels": {"reference": desired.reference, "version": desired.version},
    }


def fault(status: int, code: str, message: str) -> dict[str, Any]:
    """Write an error as google.rpc.Status."""
    return {"error": {"code": status, "status": code, "message": message}}


def body(delivery: str, events: Sequence[dict[str, Any]]) -> dict[str, Any]:  # noqa: ARG001
    """Write one event alone, several as a batch; the id is in the headers."""
    return events[0] if len(events) == 1 else {"events": list(events)}


def sign(secrets: Sequence[str], delivery: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Sign with every private key."""
    private = [secret for secret in secrets if secret.startswith("whsk_")]
    if not private:
        message = "no private key to sign with"
        raise ValueError(message)
    return standard_webhooks.sign(standard_webhooks.V1A, private, delivery, timestamp, body)
