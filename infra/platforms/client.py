"""The client of an ad platform: one remote campaign for each campaign, even if responses are lost.

A create request carries an idempotency key made of the campaign, not of its version. If its
response was lost, it is repeated under the same key and returns the same remote campaign; if that
has an older version, an update follows. A campaign that the platform no longer knows is created
under a new key, made of the id that is gone, so that a repetition still creates only one.
"""

from dataclasses import replace

from events.campaigns import CampaignSavedData
from infra.errors import Transient
from infra.http.client import HttpRequest
from infra.platforms.base import Dialect, RemoteCampaign
from infra.platforms.results import NotFound, Result, Success, to_error
from infra.platforms.transport import Transport
from schemas.campaigns import ReportedStatus
from schemas.trace_context import TraceContext

MAX_ATTEMPTS = 3


class PlatformClient:
    """An ``AdPlatform``: a dialect and a transport."""

    def __init__(
        self, dialect: Dialect, transport: Transport, trace: TraceContext | None = None
    ) -> None:
        """Keep both, and the trace that requests belong to; nothing is sent yet."""
        self._dialect = dialect
        self._transport = transport
        self._trace = trace

    def in_trace(self, trace: TraceContext | None) -> "PlatformClient":
        """Give a client of the same platform for a trace; see ``AdPlatform.in_trace``."""
        return PlatformClient(self._dialect, self._transport, trace)

    async def push(
        self, campaign: CampaignSavedData, idempotency_key: str, access_token: str | None = None
    ) -> RemoteCampaign:
        """Create or update a campaign; see ``AdPlatform.push``."""
        gone: str | None = None
        known = campaign.platform_campaign_id
        for _ in range(MAX_ATTEMPTS):
            if known is None:
                created = await self._create(campaign, gone, access_token)
                if created.version == campaign.version:
                    return created
                known = created.platform_campaign_id
            request = self._dialect.update_request(known, campaign, idempotency_key)
            match await self._send(request, access_token):
                case Success(updated):
                    return updated
                case NotFound():
                    gone, known = known, None
                case result:
                    raise to_error(result)
        raise Transient(
            f"{self._dialect.TITLE} does not find the campaigns that it has just created",
            code="PLATFORM_INCONSISTENT",
        )

    async def delete(
        self, platform_campaign_id: str, idempotency_key: str, access_token: str | None = None
    ) -> None:
        """Delete a campaign; see ``AdPlatform.delete``."""
        request = self._dialect.delete_request(platform_campaign_id, idempotency_key)
        match await self._transport.send(self._traced(request), lambda _: None, access_token):
            case Success() | NotFound():
                return
            case result:
                raise to_error(result)

    async def status(
        self, platform_campaign_id: str, access_token: str | None = None
    ) -> ReportedStatus | None:
        """Read the status of a campaign; see ``AdPlatform.status``."""
        match await self._send(self._dialect.get_request(platform_campaign_id), access_token):
            case Success(found):
                return found.status
            case NotFound():
                return None
            case result:
                raise to_error(result)

    async def _create(
        self, campaign: CampaignSavedData, gone: str | None, access_token: str | None
    ) -> RemoteCampaign:
        key = f"create-{campaign.campaign_id}" + (f"-after-{gone}" if gone else "")
        request = self._dialect.create_request(campaign, key)
        match await self._send(request, access_token):
            case Success(created):
                return created
            case NotFound():
                reason = "no campaigns API at the configured URL"
                raise to_error(self._transport.to_failure(request, reason))
            case result:
                raise to_error(result)

    async def _send(self, request: HttpRequest, access_token: str | None) -> Result[RemoteCampaign]:
        parse = self._dialect.parse_campaign
        return await self._transport.send(self._traced(request), parse, access_token)

    def _traced(self, request: HttpRequest) -> HttpRequest:
        return request if self._trace is None else replace(request, trace=self._trace)
