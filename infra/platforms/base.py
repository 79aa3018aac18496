"""What an ad platform is to us, and what its own module has to tell.

A platform's module (a ``Dialect``) is pure: it turns our wishes into calls in the platform's
words and its answers into ours. Everything else (token, timeout, breaker, retries of a lost
campaign) is the same for all and lives in ``client`` once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlencode

from events.campaigns import CampaignSavedData
from infra.errors import Snooze, Transient
from infra.http.client import HttpRequest
from schemas.campaigns import ReportedStatus


class Rejected(Exception):
    """The platform refuses, by a rule of its business: trying again would change nothing."""

    def __init__(self, code: str, message: str) -> None:
        """Keep the platform's own code and words, printable and short."""
        self.code = replace_control_characters(code)[:100]
        self.message = replace_control_characters(message)[:500]
        super().__init__(f"{self.code}: {self.message}")


@dataclass(frozen=True, slots=True)
class PushResult:
    """The platform holds the campaign, under its own id and in this status."""

    platform_campaign_id: str
    status: ReportedStatus


@dataclass(frozen=True, slots=True)
class RemoteCampaign:
    """A campaign in a platform's answer; ``version`` is the one of ours that it echoes."""

    platform_campaign_id: str
    status: ReportedStatus
    version: int | None


class RequestSnooze(Snooze):
    """One call has to wait; nobody else's need to."""


class AccountUnavailable(RequestSnooze):
    """The token of one connected account is refused: calls in its name have to wait."""


class RequestUnanswered(RequestSnooze, Transient):
    """The platform gave no usable answer, as far as we know to nobody: it is tried again later.

    As long as that may be an outage it costs no attempt.
    """


class AdPlatform(Protocol):
    """An ad platform, spoken to over its API.

    ``access_token`` is the access token of the connected account in whose name a call is made;
    without one it is made in ours. Beside ``Rejected``, all raise ``infra.errors.Transient``
    when a call failed or its answer made no sense, ``infra.errors.Snooze`` when the platform
    asks for patience, refuses our credentials or has failed so often that we leave it alone
    for a while, and ``AccountUnavailable`` when it refuses the account's token.
    """

    async def push(
        self, campaign: CampaignSavedData, idempotency_key: str, access_token: str | None = None
    ) -> PushResult:
        """Make the platform hold this version: create the campaign there or update it.

        However often it is called, one campaign comes of it. ``idempotency_key`` names the
        update; a create is named by the campaign.
        """

    async def delete(
        self, platform_campaign_id: str, idempotency_key: str, access_token: str | None = None
    ) -> None:
        """Delete the campaign; one that the platform does not know is deleted."""

    async def status(
        self, platform_campaign_id: str, access_token: str | None = None
    ) -> ReportedStatus | None:
        """Ask in what state the campaign is; None for one that the platform does not know."""


class Dialect(Protocol):
    """A module of this package. Whatever reads a body raises ``ValueError``."""

    TITLE: str
    AUTHORIZE_PATH: str
    SCOPES: tuple[str, ...]
    # What a platform wants to be told, beyond the standard, when an owner is to consent.
    CONSENT_PARAMETERS: Mapping[str, str]

    def token_request(
        self, client_id: str, client_secret: str, grant: Mapping[str, str]
    ) -> HttpRequest:
        """Ask the token endpoint for what ``grant`` entitles to (RFC 6749, section 3.2)."""

    def revoke_request(self, client_id: str, client_secret: str, token: str) -> HttpRequest:
        """Ask for a token to be revoked, and all that came of the same consent (RFC 7009)."""

    def create_request(self, campaign: CampaignSavedData, idempotency_key: str) -> HttpRequest:
        """Create a campaign; raises ``Rejected`` if it cannot be said in these words."""

    def update_request(
        self, platform_campaign_id: str, campaign: CampaignSavedData, idempotency_key: str
    ) -> HttpRequest:
        """Replace a campaign, its status included; raises ``Rejected`` as above."""

    def delete_request(self, platform_campaign_id: str, idempotency_key: str) -> HttpRequest:
        """Delete a campaign."""

    def get_request(self, platform_campaign_id: str) -> HttpRequest:
        """Read a campaign."""

    def parse_campaign(self, body: bytes) -> RemoteCampaign:
        """Read the answer to a create, an update or a look at a campaign."""

    def parse_error(self, body: bytes) -> Rejected:
        """Read a 4xx answer."""


def replace_control_characters(text: str) -> str:
    """Replace control characters, which neither logs nor Postgres take well."""
    return "".join(c if c.isprintable() else " " for c in text)


def form_request(
    path: str, fields: Mapping[str, str], headers: dict[str, str] | None = None
) -> HttpRequest:
    """POST a form."""
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return HttpRequest("POST", path, urlencode(fields).encode(), {**kind, **(headers or {})})


def json_request(
    method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> HttpRequest:
    """Make a call with a JSON body, or with none."""
    kind = {"Content-Type": "application/json"} if body else {}
    return HttpRequest(method, path, body, {**kind, **(headers or {})})


def encode_segment(text: str) -> str:
    """Write text as one segment of a path or one value of a query."""
    return quote(text, safe="")
