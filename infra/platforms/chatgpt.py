"""ChatGPT Ads: credentials by HTTP Basic, everything by POST, budgets in hundredths."""

from base64 import b64encode
from collections.abc import Mapping

from events.campaigns import CampaignSavedData
from infra.http.client import Call
from infra.platforms.base import Held, Refused, form_call, json_call, segment
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
CONSENT: Mapping[str, str] = {}


def token(client_id: str, client_secret: str, grant: Mapping[str, str]) -> Call:
    """Send the credentials as HTTP Basic."""
    return form_call("/oauth2/token", grant, _basic(client_id, client_secret))


def revocation(client_id: str, client_secret: str, token: str) -> Call:
    """Send the credentials as HTTP Basic."""
    return form_call("/oauth2/revoke", {"token": token}, _basic(client_id, client_secret))


def create(campaign: CampaignSavedData, idempotency_key: str) -> Call:
    """POST the wish; raises ``Refused`` for a budget that is no whole hundredth."""
    return json_call("POST", CAMPAIGNS, _wish(campaign), _key(idempotency_key))


def update(platform_campaign_id: str, campaign: CampaignSavedData, idempotency_key: str) -> Call:
    """POST the wish to the campaign; raises ``Refused``, as ``create`` does."""
    path = f"{CAMPAIGNS}/{segment(platform_campaign_id)}"
    return json_call("POST", path, _wish(campaign), _key(idempotency_key))


def delete(platform_campaign_id: str, idempotency_key: str) -> Call:
    """DELETE it."""
    path = f"{CAMPAIGNS}/{segment(platform_campaign_id)}"
    return json_call("DELETE", path, headers=_key(idempotency_key))


def show(platform_campaign_id: str) -> Call:
    """GET it."""
    return json_call("GET", f"{CAMPAIGNS}/{segment(platform_campaign_id)}")


def held(body: bytes) -> Held:
    """Read a campaign; the version that it echoes is text."""
    campaign = ChatGptCampaign.model_validate_json(body)
    version = campaign.metadata.version
    return Held(campaign.id, campaign.state, int(version) if version else None)


def refusal(body: bytes) -> Refused:
    """Read an error."""
    error = ChatGptApiError.model_validate_json(body).error
    return Refused(error.type, error.message)


def _wish(campaign: CampaignSavedData) -> bytes:
    cents, rest = divmod(campaign.budget_micros, MICROS_PER_CENT)
    if rest:
        raise Refused("budget_precision", "ChatGPT Ads takes budgets in whole hundredths only")
    wish = ChatGptCampaignPayload(
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
    return wish.model_dump_json().encode()


def _basic(client_id: str, client_secret: str) -> dict[str, str]:
    """Write the credentials as RFC 6749, section 2.3.1, says: form-encoded first."""
    pair = f"{segment(client_id)}:{segment(client_secret)}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _key(idempotency_key: str) -> dict[str, str]:
    return {"Idempotency-Key": idempotency_key}
