"""Gemini Ads: resource names, ``requestId`` in the query, budgets in micros as text."""

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
from schemas.gemini import (
    GeminiAgeRange,
    GeminiApiError,
    GeminiCampaign,
    GeminiCampaignMutation,
    GeminiCampaignPayload,
    GeminiLabels,
    GeminiTargeting,
)

TITLE = "Gemini Ads"
CAMPAIGNS = "/v1/campaigns"
AUTHORIZE_PATH = "/o/oauth2/auth"
SCOPES: tuple[str, ...] = ("https://ads.gemini.example/auth/campaigns",)
# Without them there is no refresh token for an owner who has consented before.
CONSENT_PARAMETERS: Mapping[str, str] = {"access_type": "offline", "prompt": "consent"}


def token_request(client_id: str, client_secret: str, grant: Mapping[str, str]) -> HttpRequest:
    """Authenticate in the form."""
    fields = {"client_id": client_id, "client_secret": client_secret}
    return form_request("/token", {**grant, **fields})


def revoke_request(client_id: str, client_secret: str, token: str) -> HttpRequest:
    """Authenticate in the form."""
    fields = {"client_id": client_id, "client_secret": client_secret}
    return form_request("/revoke", {"token": token, **fields})


def create_request(campaign: CampaignSavedData, idempotency_key: str) -> HttpRequest:
    """POST the mutation."""
    path = f"{CAMPAIGNS}?requestId={encode_segment(idempotency_key)}"
    return json_request("POST", path, _mutation(campaign))


def update_request(
    platform_campaign_id: str, campaign: CampaignSavedData, idempotency_key: str
) -> HttpRequest:
    """PATCH the whole campaign."""
    return json_request("PATCH", _path(platform_campaign_id, idempotency_key), _mutation(campaign))


def delete_request(platform_campaign_id: str, idempotency_key: str) -> HttpRequest:
    """DELETE the campaign."""
    return json_request("DELETE", _path(platform_campaign_id, idempotency_key))


def get_request(platform_campaign_id: str) -> HttpRequest:
    """GET the campaign."""
    return json_request("GET", f"{CAMPAIGNS}/{encode_segment(platform_campaign_id)}")


def parse_campaign(body: bytes) -> RemoteCampaign:
    """Parse a campaign; its id is the last part of its resource name."""
    campaign = GeminiCampaign.model_validate_json(body)
    version = campaign.labels.version
    _, _, platform_campaign_id = campaign.resource_name.partition("/")
    return RemoteCampaign(
        platform_campaign_id, campaign.serving_state, int(version) if version else None
    )


def parse_error(body: bytes) -> Rejected:
    """Parse an error."""
    error = GeminiApiError.model_validate_json(body).error
    return Rejected(error.status, error.message)


def _mutation(campaign: CampaignSavedData) -> bytes:
    low, high = campaign.targeting.age_range
    payload = GeminiCampaignPayload(
        display_name=campaign.name,
        budget_micros=str(campaign.budget_micros),
        currency_code=campaign.currency,
        serving_state="ENABLED" if campaign.status == "active" else "PAUSED",
        targeting=GeminiTargeting(
            interest_categories=campaign.targeting.interests,
            age_range=GeminiAgeRange(min=low, max=high),
        ),
        labels=GeminiLabels(reference=str(campaign.campaign_id), version=str(campaign.version)),
    )
    return GeminiCampaignMutation(campaign=payload).model_dump_json(by_alias=True).encode()


def _path(platform_campaign_id: str, idempotency_key: str) -> str:
    key = encode_segment(idempotency_key)
    return f"{CAMPAIGNS}/{encode_segment(platform_campaign_id)}?requestId={key}"
