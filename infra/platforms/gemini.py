"""Gemini Ads: resource names, ``requestId`` in the query, budgets in micros as text."""

from collections.abc import Mapping

from events.campaigns import CampaignSavedData
from infra.http.client import Call
from infra.platforms.base import Held, Refused, form_call, json_call, segment
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
# Without them an owner who has consented before yields no refresh token.
CONSENT: Mapping[str, str] = {"access_type": "offline", "prompt": "consent"}


def token(client_id: str, client_secret: str, grant: Mapping[str, str]) -> Call:
    """Send the credentials in the form."""
    fields = {"client_id": client_id, "client_secret": client_secret}
    return form_call("/token", {**grant, **fields})


def revocation(client_id: str, client_secret: str, token: str) -> Call:
    """Send the credentials in the form."""
    fields = {"client_id": client_id, "client_secret": client_secret}
    return form_call("/revoke", {"token": token, **fields})


def create(campaign: CampaignSavedData, idempotency_key: str) -> Call:
    """POST the mutation."""
    path = f"{CAMPAIGNS}?requestId={segment(idempotency_key)}"
    return json_call("POST", path, _mutation(campaign))


def update(platform_campaign_id: str, campaign: CampaignSavedData, idempotency_key: str) -> Call:
    """PATCH the whole campaign."""
    return json_call("PATCH", _path(platform_campaign_id, idempotency_key), _mutation(campaign))


def delete(platform_campaign_id: str, idempotency_key: str) -> Call:
    """DELETE it."""
    return json_call("DELETE", _path(platform_campaign_id, idempotency_key))


def show(platform_campaign_id: str) -> Call:
    """GET it."""
    return json_call("GET", f"{CAMPAIGNS}/{segment(platform_campaign_id)}")


def held(body: bytes) -> Held:
    """Read a campaign; its id is the last part of its resource name."""
    campaign = GeminiCampaign.model_validate_json(body)
    version = campaign.labels.version
    _, _, platform_campaign_id = campaign.resource_name.partition("/")
    return Held(platform_campaign_id, campaign.serving_state, int(version) if version else None)


def refusal(body: bytes) -> Refused:
    """Read an error."""
    error = GeminiApiError.model_validate_json(body).error
    return Refused(error.status, error.message)


def _mutation(campaign: CampaignSavedData) -> bytes:
    low, high = campaign.targeting.age_range
    wish = GeminiCampaignPayload(
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
    return GeminiCampaignMutation(campaign=wish).model_dump_json(by_alias=True).encode()


def _path(platform_campaign_id: str, idempotency_key: str) -> str:
    key = segment(idempotency_key)
    return f"{CAMPAIGNS}/{segment(platform_campaign_id)}?requestId={key}"
