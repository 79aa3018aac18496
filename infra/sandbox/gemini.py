"""The sandbox's Gemini Ads."""

from collections.abc import Mapping, Sequence
from typing import Any

from infra.sandbox.campaigns import Campaign, DesiredCampaign
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
    """Find them in the form."""
    return form.get("client_id", ""), form.get("client_secret", "")


def key_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:  # noqa: ARG001
    """Find it in the query."""
    return query.get("requestId")


def parse_campaign(body: bytes) -> DesiredCampaign:
    """Read a mutation."""
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


def campaign(campaign: Campaign) -> dict[str, Any]:
    """Show it as a resource."""
    held = campaign.desired
    return {
        "resourceName": f"campaigns/{campaign.id}",
        "displayName": held.name,
        "budgetMicros": str(held.budget_micros),
        "currencyCode": held.currency,
        "servingState": STATES[campaign.status],
        "targeting": {
            "interestCategories": held.interests,
            "ageRange": {"min": held.ages[0], "max": held.ages[1]},
        },
        "labels": {"reference": held.reference, "version": held.version},
    }


def fault(status: int, code: str, message: str) -> dict[str, Any]:
    """Say it as google.rpc.Status."""
    return {"error": {"code": status, "status": code, "message": message}}


def body(delivery: str, news: Sequence[dict[str, Any]]) -> dict[str, Any]:  # noqa: ARG001
    """Put one piece alone, several into a batch; the id is in the headers."""
    return news[0] if len(news) == 1 else {"events": list(news)}


def sign(secrets: Sequence[str], delivery: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Sign with every private key."""
    private = [secret for secret in secrets if secret.startswith("whsk_")]
    if not private:
        message = "no private key to sign with"
        raise ValueError(message)
    return standard_webhooks.sign(standard_webhooks.V1A, private, delivery, timestamp, body)
