"""Claude Ads: plain REST, ``Idempotency-Key`` header, budgets in currency units."""

from collections.abc import Mapping

from events.campaigns import CampaignSavedData
from infra.http.client import HttpRequest
from infra.platforms.base import (
    RemoteCampaign,
    encode_segment,
    form_request,
    json_request,
)
from infra.platforms.results import Rejected
from schemas.claude import ClaudeApiError, ClaudeCampaign, ClaudeCampaignPayload, ClaudeTargeting
from schemas.types import from_micros

TITLE = "Claude Ads"
CAMPAIGNS = "/v1/campaigns"
AUTHORIZE_PATH = "/oauth/authorize"
SCOPES: tuple[str, ...] = ("campaigns:write", "metrics:read")
CONSENT_PARAMETERS: Mapping[str, str] = {}


def token_request(client_id: str, client_secret: str, grant: Mapping[str, str]) -> HttpRequest:
    """Authenticate in the form."""
    fields = {"client_id": client_id, "client_secret": client_secret}
    return form_request("/oauth/token", {**grant, **fields})


def revoke_request(client_id: str, client_secret: str, token: str) -> HttpRequest:
    """Authenticate in the form."""
    fields = {"client_id": client_id, "client_secret": client_secret}
    return form_request("/oauth/revoke", {"token": token, **fields})


def create_request(campaign: CampaignSavedData, idempotency_key: str) -> HttpRequest:
    """POST the payload."""
    return json_request("POST", CAMPAIGNS, _payload(campaign), _key(idempotency_key))


def update_request(
    platform_campaign_id: str, campaign: CampaignSavedData, idempotency_key: str
) -> HttpRequest:
    """PUT the payload."""
    path = f"{CAMPAIGNS}/{encode_segment(platform_campaign_id)}"
    return json_request("PUT", path, _payload(campaign), _key(idempotency_key))


def delete_request(platform_campaign_id: str, idempotency_key: str) -> HttpRequest:
    """DELETE the campaign."""
    path = f"{CAMPAIGNS}/{encode_segment(platform_campaign_id)}"
    return json_request("DELETE", path, headers=_key(idempotency_key))


def get_request(platform_campaign_id: str) -> HttpRequest:
    """GET the campaign."""
    return json_request("GET", f"{CAMPAIGNS}/{encode_segment(platform_campaign_id)}")


def parse_campaign(body: bytes) -> RemoteCampaign:
    """Parse a campaign."""
    campaign = ClaudeCampaign.model_validate_json(body)
    return RemoteCampaign(campaign.id, campaign.status, campaign.external_version)


def parse_error(body: bytes) -> Rejected:
    """Parse an error."""
    error = ClaudeApiError.model_validate_json(body).error
    return Rejected(error.code, error.message)


def _payload(campaign: CampaignSavedData) -> bytes:
    payload = ClaudeCampaignPayload(
        name=campaign.name,
        budget=from_micros(campaign.budget_micros),
        currency=campaign.currency,
        status=campaign.status,
        targeting=ClaudeTargeting(
            interests=campaign.targeting.interests, age_range=campaign.targeting.age_range
        ),
        external_id=str(campaign.campaign_id),
        external_version=campaign.version,
    )
    return payload.model_dump_json(by_alias=True).encode()


def _key(idempotency_key: str) -> dict[str, str]:
    return {"Idempotency-Key": idempotency_key}
