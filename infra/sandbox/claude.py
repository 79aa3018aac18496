"""Simulates the API and the webhooks of Claude Ads."""

from collections.abc import Mapping, Sequence
from typing import Any

from infra.sandbox.campaigns import DesiredCampaign, SandboxCampaign
from infra.sandbox.dialect import Routes
from infra.security.hmac_signature import sign_body
from schemas.campaigns import ReportedStatus
from schemas.claude import ClaudeCampaignPayload
from schemas.types import from_micros, to_micros

ID_PREFIX = "clm_"
TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
AUTHORIZE_PATH = "/oauth/authorize"
REVOKE_PATH = "/oauth/revoke"
OFFLINE: tuple[str, str] | None = None
ROUTES: Routes = (
    ("POST", "/v1/campaigns", "create"),
    ("GET", "/v1/campaigns/{id}", "status"),
    ("PUT", "/v1/campaigns/{id}", "update"),
    ("DELETE", "/v1/campaigns/{id}", "delete"),
    ("POST", "/v1/campaigns/{id}/pause", "pause"),
    ("POST", "/v1/campaigns/{id}/resume", "resume"),
)
STATES: Mapping[ReportedStatus, str] = {
    "active": "active",
    "paused": "paused",
    "completed": "completed",
    "rejected": "rejected",
}
BUNDLE = 1


def credentials(headers: Mapping[str, str], form: Mapping[str, str]) -> tuple[str, str]:  # noqa: ARG001
    """Read the client credentials from the form."""
    return form.get("client_id", ""), form.get("client_secret", "")


def key_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:  # noqa: ARG001
    """Read the idempotency key from its header."""
    return headers.get("Idempotency-Key")


def parse_campaign(body: bytes) -> DesiredCampaign:
    """Parse the body of a create or an update."""
    payload = ClaudeCampaignPayload.model_validate_json(body)
    return DesiredCampaign(
        name=payload.name,
        budget_micros=to_micros(payload.budget),
        currency=payload.currency,
        interests=payload.targeting.interests,
        ages=payload.targeting.age_range,
        status=payload.status,
        reference=payload.external_id,
        version=str(payload.external_version),
    )


def campaign(campaign: SandboxCampaign) -> dict[str, Any]:
    """Write a campaign in camelCase."""
    desired = campaign.desired
    return {
        "id": campaign.id,
        "name": desired.name,
        "budget": float(from_micros(desired.budget_micros)),
        "currency": desired.currency,
        "status": STATES[campaign.status],
        "targeting": {"interests": desired.interests, "ageRange": desired.ages},
        "externalId": desired.reference,
        "externalVersion": int(desired.version),
    }


def fault(status: int, code: str, message: str) -> dict[str, Any]:  # noqa: ARG001
    """Write an error with a code."""
    return {"error": {"code": code, "message": message}}


def body(delivery: str, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write the id beside the event."""
    return {"id": delivery, **events[0]}


def sign(
    secrets: Sequence[str],
    delivery: str,  # noqa: ARG001 - it is in the body
    timestamp: int,  # noqa: ARG001 - this scheme signs no time
    body: bytes,
) -> dict[str, str]:
    """Sign the raw body with the newest secret."""
    if not secrets:
        message = "no secret to sign with"
        raise ValueError(message)
    return {"X-Claude-Signature": sign_body(secrets[0], body)}
