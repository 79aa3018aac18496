"""The client of an ad platform: one campaign there for each of ours, whatever is lost.

A create is named by the campaign, not by the version: when its answer was lost it is asked
again under the same key and answered with the same campaign, and if that echoes an older
version an update follows. A campaign that the platform no longer knows is created under a
new key, made of the id that is gone, so that repeating it still makes only one.
"""

from events.campaigns import CampaignSavedData
from infra.errors import Transient
from infra.platforms.base import Dialect, PushResult, RemoteCampaign
from infra.platforms.responses import NotFound
from infra.platforms.transport import Transport
from schemas.campaigns import ReportedStatus

MAX_ATTEMPTS = 3


class PlatformClient:
    """A ``Platform`` that speaks a dialect over a line."""

    def __init__(self, dialect: Dialect, transport: Transport) -> None:
        """Make a client; nothing is sent yet."""
        self._dialect = dialect
        self._transport = transport

    async def push(
        self, campaign: CampaignSavedData, idempotency_key: str, access_token: str | None = None
    ) -> PushResult:
        """Create or update; see ``Platform.push``."""
        gone: str | None = None
        known = campaign.platform_campaign_id
        for _ in range(MAX_ATTEMPTS):
            if known is None:
                created = await self._create(campaign, gone, access_token)
                if created.version == campaign.version:
                    return _pushed(created)
                known = created.platform_campaign_id
            try:
                update = self._dialect.update_request(known, campaign, idempotency_key)
                return _pushed(
                    await self._transport.send(update, self._dialect.parse_campaign, access_token)
                )
            except NotFound:
                gone, known = known, None
        raise Transient(
            f"{self._dialect.TITLE} forgets campaigns as fast as they are created",
            code="PLATFORM_INCONSISTENT",
        )

    async def delete(
        self, platform_campaign_id: str, idempotency_key: str, access_token: str | None = None
    ) -> None:
        """Delete; see ``Platform.delete``."""
        call = self._dialect.delete_request(platform_campaign_id, idempotency_key)
        try:
            await self._transport.send(call, lambda _: None, access_token)
        except NotFound:
            return

    async def status(
        self, platform_campaign_id: str, access_token: str | None = None
    ) -> ReportedStatus | None:
        """Look at a campaign; see ``Platform.status``."""
        call = self._dialect.get_request(platform_campaign_id)
        try:
            return (
                await self._transport.send(call, self._dialect.parse_campaign, access_token)
            ).status
        except NotFound:
            return None

    async def _create(
        self, campaign: CampaignSavedData, gone: str | None, access_token: str | None
    ) -> RemoteCampaign:
        key = f"create-{campaign.campaign_id}" + (f"-after-{gone}" if gone else "")
        call = self._dialect.create_request(campaign, key)
        try:
            return await self._transport.send(call, self._dialect.parse_campaign, access_token)
        except NotFound:
            raise self._transport.to_failure(call, "it is not where its URL says") from None


def _pushed(held: RemoteCampaign) -> PushResult:
    return PushResult(held.platform_campaign_id, held.status)
