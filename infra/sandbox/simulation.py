"""Simulates traffic: metrics grow, and seeded campaigns change their status.

A round covers at most a hundred campaigns of each platform and continues with the next ones in the
next round, so that many campaigns do not cause a flood of webhooks.
"""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

from infra.sandbox.campaigns import SandboxCampaign
from infra.sandbox.dialect import build_metrics_webhook, build_status_webhook
from infra.sandbox.platform_api import PlatformApi
from infra.sandbox.webhook_sender import WebhookSender

BATCH_SIZE = 100


@dataclass(slots=True)
class Schedule:
    """Seconds between two rounds; 0 means never. May change at run time."""

    metrics_seconds: float
    status_seconds: float
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, metrics_seconds: float | None, status_seconds: float | None) -> None:
        """Change the intervals at once; None keeps one."""
        if metrics_seconds is not None:
            self.metrics_seconds = metrics_seconds
        if status_seconds is not None:
            self.status_seconds = status_seconds
        self.changed.set()
        self.changed = asyncio.Event()

    async def wait_for_metrics(self) -> None:
        """Wait until the next round of metrics is due."""
        await self._wait("metrics_seconds")

    async def wait_for_status(self) -> None:
        """Wait until the next change of a status is due."""
        await self._wait("status_seconds")

    async def _wait(self, name: str) -> None:
        while True:
            changed = self.changed
            seconds: float = getattr(self, name)
            try:
                async with asyncio.timeout(seconds or None):
                    await changed.wait()
            except TimeoutError:
                return


@dataclass(slots=True)
class Simulation:
    """The simulation of one platform."""

    api: PlatformApi
    webhooks: WebhookSender
    schedule: Schedule
    chance: random.Random = field(default_factory=random.Random)
    next: int = 0

    async def grow(self) -> None:
        """Report growing metrics for ever."""
        while True:
            await self.schedule.wait_for_metrics()
            active = [c for c in self._some() if c.status == "active"]
            for campaign in active:
                campaign.grow(self.chance)
            self.webhooks.enqueue([build_metrics_webhook(c.id, c.figures) for c in active])

    async def change(self) -> None:
        """Pause and resume seeded campaigns for ever."""
        while True:
            await self.schedule.wait_for_status()
            seeded = [c for c in self.api.state.campaigns.values() if c.is_seeded]
            if seeded:
                self._flip(self.chance.choice(seeded))

    def _some(self) -> list[SandboxCampaign]:
        campaigns = list(self.api.state.campaigns.values())
        begin = self.next if self.next < len(campaigns) else 0
        self.next = begin + BATCH_SIZE
        return campaigns[begin : begin + BATCH_SIZE]

    def _flip(self, campaign: SandboxCampaign) -> None:
        campaign.status = "paused" if campaign.status == "active" else "active"
        state = self.api.dialect.STATES[campaign.status]
        moment = datetime.now(UTC).isoformat()
        self.webhooks.enqueue([build_status_webhook(campaign.id, state, moment)])
