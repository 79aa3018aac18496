"""A platform that keeps its campaigns in a book: the seam of ``infra.platforms``, no network.

It is idempotent as platforms are: a key that was seen before gets its first answer again and
changes nothing, and one of our campaigns makes one campaign there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from events.campaigns import CampaignSavedData
from infra.platforms import RemoteCampaign
from schemas.campaigns import ReportedStatus
from schemas.trace_context import TraceContext

Fault = Callable[[CampaignSavedData], Awaitable[None]]


async def nothing(_: CampaignSavedData) -> None:
    """Let a call pass."""


@dataclass
class Book:
    """What the platform holds, and the calls that it was sent."""

    campaigns: dict[str, CampaignSavedData] = field(default_factory=dict)
    pushes: list[tuple[CampaignSavedData, str]] = field(default_factory=list)
    deletions: list[tuple[str, str]] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    bearers: list[str | None] = field(default_factory=list)
    ids: dict[UUID, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    fault: Fault = nothing
    waiting: int = 0  # calls that frozen workers have not sent yet, ever
    at_a_time: int = 0
    most_at_a_time: int = 0

    def in_trace(self, _: TraceContext | None) -> Self:
        """Give itself: it makes no spans."""
        return self

    async def push(
        self, campaign: CampaignSavedData, idempotency_key: str, access_token: str | None = None
    ) -> RemoteCampaign:
        """Create or update."""
        self.bearers.append(access_token)
        with self._counted():
            await self.fault(campaign)
        self.pushes.append((campaign, idempotency_key))
        name = self.ids.setdefault(campaign.campaign_id, f"p-{campaign.campaign_id}")
        if idempotency_key not in self.seen:
            self.seen.add(idempotency_key)
            self.campaigns[name] = campaign
        return RemoteCampaign(
            name, self.campaigns[name].status if name in self.campaigns else "active"
        )

    async def delete(
        self, platform_campaign_id: str, idempotency_key: str, access_token: str | None = None
    ) -> None:
        """Delete; what is not there is deleted."""
        self.bearers.append(access_token)
        self.deletions.append((platform_campaign_id, idempotency_key))
        self.campaigns.pop(platform_campaign_id, None)

    async def status(
        self, platform_campaign_id: str, access_token: str | None = None
    ) -> ReportedStatus | None:
        """Tell a status; None of what is not there."""
        self.bearers.append(access_token)
        self.questions.append(platform_campaign_id)
        held = self.campaigns.get(platform_campaign_id)
        if held is not None:
            await self.fault(held)
        return None if held is None else held.status

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        try:
            yield
        finally:
            self.at_a_time -= 1


@dataclass(frozen=True)
class Frozen:
    """The same book, reached through a worker that is frozen until ``thawed`` is set."""

    book: Book
    thawed: asyncio.Event

    def in_trace(self, _: TraceContext | None) -> Self:
        """Give itself: it makes no spans."""
        return self

    async def push(
        self, campaign: CampaignSavedData, idempotency_key: str, access_token: str | None = None
    ) -> RemoteCampaign:
        """Push once the worker is itself again."""
        self.book.waiting += 1
        await self.thawed.wait()
        return await self.book.push(campaign, idempotency_key, access_token)

    async def delete(
        self, platform_campaign_id: str, idempotency_key: str, access_token: str | None = None
    ) -> None:
        """Delete once the worker is itself again."""
        self.book.waiting += 1
        await self.thawed.wait()
        await self.book.delete(platform_campaign_id, idempotency_key, access_token)

    async def status(
        self, platform_campaign_id: str, access_token: str | None = None
    ) -> ReportedStatus | None:
        """Tell a status once the worker is itself again."""
        self.book.waiting += 1
        await self.thawed.wait()
        return await self.book.status(platform_campaign_id, access_token)
