"""The client of an ad platform: one campaign there for each of ours, whatever is lost.

A create is named by the campaign, not by the version: when its answer was lost it is asked
again under the same key and answered with the same campaign, and if that echoes an older
version an update follows. A campaign that the platform no longer knows is created under a
new key, made of the id that is gone, so that repeating it still makes only one.
"""

from events.campaigns import CampaignSavedData
from infra.errors import Transient
from infra.platforms.base import Dialect, Held, Pushed
from infra.platforms.responses import Gone
from infra.platforms.transport import Line
from schemas.campaigns import ReportedStatus

ROUNDS = 3


class PlatformClient:
    """A ``Platform`` that speaks a dialect over a line."""

    def __init__(self, dialect: Dialect, line: Line) -> None:
        """Make a client; nothing is sent yet."""
        self._dialect = dialect
        self._line = line

    async def push(
        self, campaign: CampaignSavedData, idempotency_key: str, bearer: str | None = None
    ) -> Pushed:
        """Create or update; see ``Platform.push``."""
        gone: str | None = None
        known = campaign.platform_campaign_id
        for _ in range(ROUNDS):
            if known is None:
                created = await self._create(campaign, gone, bearer)
                if created.version == campaign.version:
                    return _pushed(created)
                known = created.platform_campaign_id
            try:
                update = self._dialect.update(known, campaign, idempotency_key)
                return _pushed(await self._line.call(update, self._dialect.held, bearer))
            except Gone:
                gone, known = known, None
        raise Transient(
            f"{self._dialect.TITLE} forgets campaigns as fast as they are created",
            code="PLATFORM_INCONSISTENT",
        )

    async def delete(
        self, platform_campaign_id: str, idempotency_key: str, bearer: str | None = None
    ) -> None:
        """Delete; see ``Platform.delete``."""
        call = self._dialect.delete(platform_campaign_id, idempotency_key)
        try:
            await self._line.call(call, lambda _: None, bearer)
        except Gone:
            return

    async def status(
        self, platform_campaign_id: str, bearer: str | None = None
    ) -> ReportedStatus | None:
        """Look at a campaign; see ``Platform.status``."""
        call = self._dialect.show(platform_campaign_id)
        try:
            return (await self._line.call(call, self._dialect.held, bearer)).status
        except Gone:
            return None

    async def _create(
        self, campaign: CampaignSavedData, gone: str | None, bearer: str | None
    ) -> Held:
        key = f"create-{campaign.campaign_id}" + (f"-after-{gone}" if gone else "")
        call = self._dialect.create(campaign, key)
        try:
            return await self._line.call(call, self._dialect.held, bearer)
        except Gone:
            raise self._line.unanswered(call, "it is not where its URL says") from None


def _pushed(held: Held) -> Pushed:
    return Pushed(held.platform_campaign_id, held.status)
