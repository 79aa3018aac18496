"""Claude Ads: plain REST, ``Idempotency-Key`` header, budgets in currency units."""

from collections.abc import Mapping

from events.campaigns import CampaignSavedData
from infra.http.client import Call
from infra.platforms.base import Held, Refused, form_call, json_call, segment
from schemas.claude import ClaudeApiError, ClaudeCampaign, ClaudeCampaignPayload, ClaudeTargeting
from schemas.types import from_micros

TITLE = "Claude Ads"
CAMPAIGNS = "/v1/campaigns"
AUTHORIZE_PATH = "/oauth/authorize"
SCOPES: tuple[str, ...] = ("campaigns:write", "metrics:read")
CONSENT: Mapping[str, str] = {}


def token(client_id: str, client_secret: str, grant: Mapping[str, str]) -> Call:
    """Send the credentials in the form."""
    fields = {"client_id": client_id, "client_secret": client_secret}
    return form_call("/oauth/token", {**grant, **fields})


def revocation(client_id: str, client_secret: str, token: str) -> Call:
    """Send the credentials in the form."""
    fields = {"client_id": client_id, "client_secret": client_secret}
    return form_call("/oauth/revoke", {"token": token, **fields})


def create(campaign: CampaignSavedData, idempotency_key: str) -> Call:
    """POST the wish."""
    return json_call("POST", CAMPAIGNS, _wish(campaign), _key(idempotency_key))


def update(platform_campaign_id: str, campaign: CampaignSavedData, idempotency_key: str) -> Call:
    """PUT the wish."""
    path = f"{CAMPAIGNS}/{segment(platform_campaign_id)}"
    return json_call("PUT", path, _wish(campaign), _key(idempotency_key))


def delete(platform_campaign_id: str, idempotency_key: str) -> Call:
    """DELETE it."""
    path = f"{CAMPAIGNS}/{segment(platform_campaign_id)}"
    return json_call("DELETE", path, headers=_key(idempotency_key))


def show(platform_campaign_id: str) -> Call:
    """GET it."""
    return json_call("GET", f"{CAMPAIGNS}/{segment(platform_campaign_id)}")


def held(body: bytes) -> Held:
    """Read a campaign."""
    campaign = ClaudeCampaign.model_validate_json(body)
    return Held(campaign.id, campaign.status, campaign.external_version)


def refusal(body: bytes) -> Refused:
    """Read an error."""
    error = ClaudeApiError.model_validate_json(body).error
    return Refused(error.code, error.message)


def _wish(campaign: CampaignSavedData) -> bytes:
    wish = ClaudeCampaignPayload(
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
    return wish.model_dump_json(by_alias=True).encode()


def _key(idempotency_key: str) -> dict[str, str]:
    return {"Idempotency-Key": idempotency_key}
