"""Simulates the API and the webhooks of ChatGPT Ads."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from infra.sandbox.campaigns import DesiredCampaign, SandboxCampaign
from infra.sandbox.dialect import Routes
from infra.security import standard_webhooks
from schemas import chatgpt
from schemas.campaigns import ReportedStatus
from schemas.types import MICROS_PER_UNIT

ID_PREFIX = "cmp_"
TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path
AUTHORIZE_PATH = "/oauth2/authorize"
REVOKE_PATH = "/oauth2/revoke"
OFFLINE: tuple[str, str] | None = ("scope", "offline_access")
ROUTES: Routes = (
    ("POST", "/ads/v1/campaigns", "create"),
    ("GET", "/ads/v1/campaigns/{id}", "status"),
    ("POST", "/ads/v1/campaigns/{id}", "update"),
    ("DELETE", "/ads/v1/campaigns/{id}", "delete"),
    ("POST", "/ads/v1/campaigns/{id}/pause", "pause"),
    ("POST", "/ads/v1/campaigns/{id}/start", "resume"),
)
STATES: Mapping[ReportedStatus, str] = {ours: word for word, ours in chatgpt.STATUSES.items()}
BUNDLE = 1
MICROS_PER_CENT = MICROS_PER_UNIT // 100


def credentials(headers: Mapping[str, str], form: Mapping[str, str]) -> tuple[str, str]:  # noqa: ARG001
    """Read the client credentials from HTTP Basic."""
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme != "Basic":
        return "", ""
    try:
        client_id, _, secret = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote(client_id), unquote(secret)


def key_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:  # noqa: ARG001
    """Read the idempotency key from its header."""
    return headers.get("Idempotency-Key")


def parse_campaign(body: bytes) -> DesiredCampaign:
    """Parse the body of a create or an update."""
    payload = chatgpt.ChatGptCampaignPayload.model_validate_json(body)
    return DesiredCampaign(
        name=payload.title,
        budget_micros=payload.budget_cents * MICROS_PER_CENT,
        currency=payload.currency,
        interests=payload.audience.topics,
        ages=(payload.audience.age_min, payload.audience.age_max),
        status=chatgpt.STATUSES[payload.state],
        reference=payload.metadata.reference,
        version=payload.metadata.version,
    )


def campaign(campaign: SandboxCampaign) -> dict[str, Any]:
    """Write a campaign in snake_case."""
    desired = campaign.desired
    return {
        "object": "campaign",
        "id": campaign.id,
        "title": desired.name,
        "budget_cents": desired.budget_micros // MICROS_PER_CENT,
        "currency": desired.currency,
        "state": STATES[campaign.status],
        "audience": {
            "topics": desired.interests,
            "age_min": desired.ages[0],
            "age_max": desired.ages[1],
        },
        "metadata": {"reference": desired.reference, "version": desired.version},
    }


def fault(status: int, code: str, message: str) -> dict[str, Any]:  # noqa: ARG001
    """Write an error with a type."""
    return {"error": {"type": code.lower(), "message": message}}


def body(delivery: str, events: Sequence[dict[str, Any]]) -> dict[str, Any]:  # noqa: ARG001
    """Write the event alone; the id is in the headers."""
    return events[0]


def sign(secrets: Sequence[str], delivery: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Sign with every shared secret."""
    if not secrets:
        message = "no secret to sign with"
        raise ValueError(message)
    return standard_webhooks.sign(standard_webhooks.V1, secrets, delivery, timestamp, body)
