"""Sends a platform's webhooks: signed, retried under one id until they are accepted.

Four deliveries run at a time. A delivery without a 2xx response is retried, with a growing wait or
after Retry-After, eight times in about a minute; the id is the same, time and signature are of the
attempt. The queue has a maximum size: when it is full the oldest webhook is dropped. Both losses
are counted and logged.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import orjson
from aiohttp import ClientSession

from infra.backoff import Backoff
from infra.http.client import HttpFailure, HttpRequest, HttpResponse, fetch, parse_retry_after
from infra.sandbox.dialect import SandboxDialect

log = logging.getLogger(__name__)

MAX_CONCURRENT_DELIVERIES = 4
MAX_QUEUED = 2_000
MAX_ATTEMPTS = 8
FIRST_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook: its id and its body as signed and sent."""

    delivery: str
    body: bytes


@dataclass(slots=True)
class DeliveryStats:
    """Counts of delivered, retried and lost webhooks."""

    delivered: int = 0
    retried: int = 0
    given_up: int = 0
    dropped: int = 0
    last_status: int | None = None


@dataclass(slots=True)
class WebhookSender:
    """Sends the webhooks of a platform; ``secrets`` newest first, waits in seconds."""

    name: str
    dialect: SandboxDialect
    secrets: Sequence[str]
    url: str
    session: ClientSession
    attempts: int = MAX_ATTEMPTS
    first_wait: float = FIRST_RETRY_SECONDS
    stats: DeliveryStats = field(default_factory=DeliveryStats)
    queue: asyncio.Queue[Webhook] = field(default_factory=lambda: asyncio.Queue(MAX_QUEUED))

    def pack(self, events: Sequence[dict[str, Any]], delivery: str | None = None) -> list[Webhook]:
        """Pack events into webhooks; ``delivery`` is the id of the first."""
        size = self.dialect.BUNDLE
        packs = [events[at : at + size] for at in range(0, len(events), size)]
        ids = [delivery or f"msg_{uuid4().hex}", *(f"msg_{uuid4().hex}" for _ in packs[1:])]
        return [
            Webhook(name, orjson.dumps(self.dialect.body(name, pack)))
            for name, pack in zip(ids, packs, strict=True)
        ]

    def can_sign(self) -> bool:
        """Check whether there is a secret to sign with."""
        try:
            self.dialect.sign(self.secrets, "probe", 1, b"")
        except ValueError:
            return False
        return True

    def enqueue(self, events: Sequence[dict[str, Any]]) -> None:
        """Send events in the background, if they can be signed."""
        for webhook in self.pack(events) if events and self.can_sign() else ():
            if self.queue.full():
                self.queue.get_nowait()
                self.stats.dropped += 1
            self.queue.put_nowait(webhook)

    async def send(self, webhook: Webhook, *, forged: bool = False) -> HttpResponse:
        """Make one attempt; ``forged`` signs another body. Raises ``HttpFailure``."""
        signed = webhook.body + b" " if forged else webhook.body
        headers = self.dialect.sign(self.secrets, webhook.delivery, int(time.time()), signed)
        kind = {"Content-Type": "application/json"}
        call = HttpRequest("POST", f"/webhooks/{self.name}", webhook.body, {**kind, **headers})
        answer = await fetch(self.session, self.url, call)
        self.stats.last_status = answer.status
        return answer

    async def run(self) -> None:
        """Deliver queued webhooks for ever."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(MAX_CONCURRENT_DELIVERIES):
                workers.create_task(self._deliver_queued())

    async def _deliver_queued(self) -> None:
        while True:
            webhook = await self.queue.get()
            if await self._deliver(webhook):
                self.stats.delivered += 1
            else:
                self.stats.given_up += 1
                log.warning("a webhook was not accepted", extra={"platform": self.name})

    async def _deliver(self, webhook: Webhook) -> bool:
        backoff = Backoff(first=self.first_wait, longest=MAX_RETRY_SECONDS)
        for attempt in range(self.attempts):
            if attempt:
                self.stats.retried += 1
            wait = backoff.step()
            try:
                answer = await self.send(webhook)
            except HttpFailure:
                pass
            else:
                if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                    return True
                asked = parse_retry_after(answer.headers, datetime.now(UTC))
                wait = min(max(wait, asked or 0), MAX_RETRY_SECONDS)
            if attempt < self.attempts - 1:
                await asyncio.sleep(wait)
        return False
