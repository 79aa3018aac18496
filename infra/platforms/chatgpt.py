"""ChatGPT Ads: HTTP Basic credentials, POST for create and update, budgets in cents."""

from base64 import b64encode
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
from schemas.chatgpt import (
    ChatGptApiError,
    ChatGptAudience,
    ChatGptCampaign,
    ChatGptCampaignPayload,
    ChatGptMetadata,
)
from schemas.types import MICROS_PER_UNIT

TITLE = "ChatGPT Ads"
CAMPAIGNS = "/ads/v1/campaigns"
MICROS_PER_CENT = MICROS_PER_UNIT // 100
AUTHORIZE_PATH = "/oauth2/authorize"
# The last one asks for a refresh token (OpenID Connect Core, section 11).
SCOPES: tuple[str, ...] = ("ads.campaigns", "ads.reports", "offline_access")
CONSENT_PARAMETERS: Mapping[str, str] = {}


def token_request(client_id: str, client_secret: str, grant: Mapping[str, str]) -> HttpRequest:
    """Authenticate with HTTP Basic."""
    return form_request("/oauth2/token", grant, _basic(client_id, client_secret))


def revoke_request(client_id: str, client_secret: str, token: str) -> HttpRequest:
    """Authenticate with HTTP Basic."""
    return form_request("/oauth2/revoke", {"token": token}, _basic(client_id, client_secret))


def create_request(campaign: CampaignSavedData, idempotency_key: str) -> HttpRequest:
    """POST the campaign; raises ``Rejected`` unless the budget is a whole number of cents."""
    return json_request("POST", CAMPAIGNS, _payload(campaign), _key(idempotency_key))


def update_request(
    platform_campaign_id: str, campaign: CampaignSavedData, idempotency_key: str
) -> HttpRequest:
    """POST the campaign to its URL; raises ``Rejected`` as above."""
    path = f"{CAMPAIGNS}/{encode_segment(platform_campaign_id)}"
    return json_request("POST", path, _payload(campaign), _key(idempotency_key))


def delete_request(platform_campaign_id: str, idempotency_key: str) -> HttpRequest:
    """DELETE the campaign."""
    path = f"{CAMPAIGNS}/{encode_segment(platform_campaign_id)}"
    return json_request("DELETE", path, headers=_key(idempotency_key))


def get_request(platform_campaign_id: str) -> HttpRequest:
    """GET the campaign."""
    return json_request("GET", f"{CAMPAIGNS}/{encode_segment(platform_campaign_id)}")


def parse_campaign(body: bytes) -> RemoteCampaign:
    """Parse a campaign; its version is a string."""
    campaign = ChatGptCampaign.model_validate_json(body)
    version = campaign.metadata.version
    return RemoteCampaign(campaign.id, campaign.state, int(version) if version else None)


def parse_error(body: bytes) -> Rejected:
    """Parse an error."""
    error = ChatGptApiError.model_validate_json(body).error
    return Rejected(error.type, error.message)


def _payload(campaign: CampaignSavedData) -> bytes:
    cents, rest = divmod(campaign.budget_micros, MICROS_PER_CENT)
    if rest:
        raise Rejected("budget_precision", "ChatGPT Ads takes budgets in whole hundredths only")
    payload = ChatGptCampaignPayload(
        title=campaign.name,
        budget_cents=cents,
        currency=campaign.currency,
        state="live" if campaign.status == "active" else "paused",
        audience=ChatGptAudience(
            topics=campaign.targeting.interests,
            age_min=campaign.targeting.age_range[0],
            age_max=campaign.targeting.age_range[1],
        ),
        metadata=ChatGptMetadata(
            reference=str(campaign.campaign_id), version=str(campaign.version)
        ),
    )
    return payload.model_dump_json().encode()


def _basic(client_id: str, client_secret: str) -> dict[str, str]:
    """Encode the credentials for HTTP Basic: form-encoded first (RFC 6749, section 2.3.1)."""
    pair = f"{encode_segment(client_id)}:{encode_segment(client_secret)}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _key(idempotency_key: str) -> dict[str, str]:
    return {"Idempotency-Key": idempotency_key}
