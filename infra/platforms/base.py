"""The seam to an ad platform, and what the module of one platform has to provide.

A platform's module (a ``Dialect``) is pure: it builds requests in the format of the platform's
API and parses its responses. Access tokens, timeouts, the circuit breaker and retries are the
same for all platforms (``infra.platforms.transport`` and ``client``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlencode

from events.campaigns import CampaignSavedData
from infra.http.client import HttpRequest
from infra.platforms.results import Rejected
from schemas.campaigns import ReportedStatus
from schemas.trace_context import TraceContext


@dataclass(frozen=True, slots=True)
class RemoteCampaign:
    """A campaign as the platform returns it; ``version`` is our version that it was sent with."""

    platform_campaign_id: str
    status: ReportedStatus
    version: int | None = None


class AdPlatform(Protocol):
    """An ad platform behind its API.

    ``access_token`` belongs to the connected account that a request is made for; without one,
    our own client's token is used. Each method raises ``Rejected``, ``infra.errors.Transient``
    when a request failed or its response could not be parsed, ``infra.errors.Snooze`` when the
    platform asks to wait, refuses our credentials or its circuit breaker is open, and
    ``AccountUnavailable`` when it rejects the account's token.
    """

    def in_trace(self, trace: TraceContext | None) -> "AdPlatform":
        """Give the same platform for requests that belong to a trace."""

    async def push(
        self, campaign: CampaignSavedData, idempotency_key: str, access_token: str | None = None
    ) -> RemoteCampaign:
        """Bring the platform to this version: create the campaign there or update it.

        Repeated calls create one remote campaign only. ``idempotency_key`` identifies the
        update; a create is identified by the campaign.
        """

    async def delete(
        self, platform_campaign_id: str, idempotency_key: str, access_token: str | None = None
    ) -> None:
        """Delete the campaign; one that the platform does not know counts as deleted."""

    async def status(
        self, platform_campaign_id: str, access_token: str | None = None
    ) -> ReportedStatus | None:
        """Read the status of the campaign; None if the platform does not know it."""


class Dialect(Protocol):
    """A module of this package. Parsers raise ``ValueError`` for a body in another format."""

    TITLE: str
    AUTHORIZE_PATH: str
    SCOPES: tuple[str, ...]
    # Parameters of the authorization request beyond RFC 6749.
    CONSENT_PARAMETERS: Mapping[str, str]

    def token_request(
        self, client_id: str, client_secret: str, grant: Mapping[str, str]
    ) -> HttpRequest:
        """Request tokens for ``grant`` at the token endpoint (RFC 6749, section 3.2)."""

    def revoke_request(self, client_id: str, client_secret: str, token: str) -> HttpRequest:
        """Revoke a token and all tokens of the same consent (RFC 7009)."""

    def create_request(self, campaign: CampaignSavedData, idempotency_key: str) -> HttpRequest:
        """Create a campaign; raises ``Rejected`` if the API cannot express it."""

    def update_request(
        self, platform_campaign_id: str, campaign: CampaignSavedData, idempotency_key: str
    ) -> HttpRequest:
        """Replace a campaign, its status included; raises ``Rejected`` as above."""

    def delete_request(self, platform_campaign_id: str, idempotency_key: str) -> HttpRequest:
        """Delete a campaign."""

    def get_request(self, platform_campaign_id: str) -> HttpRequest:
        """Read a campaign."""

    def parse_campaign(self, body: bytes) -> RemoteCampaign:
        """Parse the response to a create, an update or a read."""

    def parse_error(self, body: bytes) -> Rejected:
        """Parse a 4xx response."""


def form_request(
    path: str, fields: Mapping[str, str], headers: dict[str, str] | None = None
) -> HttpRequest:
    """Build a POST request with a form."""
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return HttpRequest("POST", path, urlencode(fields).encode(), {**kind, **(headers or {})})


def json_request(
    method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> HttpRequest:
    """Build a request with a JSON body, or without a body."""
    kind = {"Content-Type": "application/json"} if body else {}
    return HttpRequest(method, path, body, {**kind, **(headers or {})})


def encode_segment(text: str) -> str:
    """Percent-encode text as one segment of a path or one value of a query."""
    return quote(text, safe="")
