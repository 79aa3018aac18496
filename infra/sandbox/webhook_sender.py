"""How a platform sends its webhooks: signed, repeated under one id until they are taken.

Four letters are under way at a time. What is not answered with 2xx is tried again, with a
growing wait or after the time that Retry-After asks for, eight times in about a minute; the
id stays, while time and signature are of the attempt. What waits is bounded: when there is
no more room the oldest makes way. Both losses are counted and logged, never silent.
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
from infra.sandbox.dialect import Dialect

log = logging.getLogger(__name__)

MAX_CONCURRENT_DELIVERIES = 4
MAX_QUEUED = 2_000
MAX_ATTEMPTS = 8
FIRST_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook: its id and its body as it is signed and sent."""

    delivery: str
    body: bytes


@dataclass(slots=True)
class DeliveryStats:
    """What became of the letters."""

    delivered: int = 0
    retried: int = 0
    given_up: int = 0
    dropped: int = 0
    last_status: int | None = None


@dataclass(slots=True)
class WebhookSender:
    """A platform's post office; ``secrets`` sign, the newest first; waits are in seconds."""

    name: str
    dialect: Dialect
    secrets: Sequence[str]
    url: str
    session: ClientSession
    attempts: int = MAX_ATTEMPTS
    first_wait: float = FIRST_RETRY_SECONDS
    stats: DeliveryStats = field(default_factory=DeliveryStats)
    queue: asyncio.Queue[Webhook] = field(default_factory=lambda: asyncio.Queue(MAX_QUEUED))

    def pack(self, news: Sequence[dict[str, Any]], delivery: str | None = None) -> list[Webhook]:
        """Pack news as the platform does; only the first letter can be given an id."""
        size = self.dialect.BUNDLE
        packs = [news[at : at + size] for at in range(0, len(news), size)]
        ids = [delivery or f"msg_{uuid4().hex}", *(f"msg_{uuid4().hex}" for _ in packs[1:])]
        return [
            Webhook(name, orjson.dumps(self.dialect.body(name, pack)))
            for name, pack in zip(ids, packs, strict=True)
        ]

    def can_sign(self) -> bool:
        """Tell whether there is a secret to sign with."""
        try:
            self.dialect.sign(self.secrets, "probe", 1, b"")
        except ValueError:
            return False
        return True

    def enqueue(self, news: Sequence[dict[str, Any]]) -> None:
        """Send news in the background, if they can be signed at all."""
        for letter in self.pack(news) if news and self.can_sign() else ():
            if self.queue.full():
                self.queue.get_nowait()
                self.stats.dropped += 1
            self.queue.put_nowait(letter)

    async def send(self, letter: Webhook, *, forged: bool = False) -> HttpResponse:
        """Make one attempt; ``forged`` signs another body. Raises ``HttpFailure``."""
        signed = letter.body + b" " if forged else letter.body
        headers = self.dialect.sign(self.secrets, letter.delivery, int(time.time()), signed)
        kind = {"Content-Type": "application/json"}
        call = HttpRequest("POST", f"/webhooks/{self.name}", letter.body, {**kind, **headers})
        answer = await fetch(self.session, self.url, call)
        self.stats.last_status = answer.status
        return answer

    async def run(self) -> None:
        """Carry letters for ever."""
        async with asyncio.TaskGroup() as carriers:
            for _ in range(MAX_CONCURRENT_DELIVERIES):
                carriers.create_task(self._carry())

    async def _carry(self) -> None:
        while True:
            letter = await self.queue.get()
            if await self._deliver(letter):
                self.stats.delivered += 1
            else:
                self.stats.given_up += 1
                log.warning("A webhook was not taken", extra={"platform": self.name})

    async def _deliver(self, letter: Webhook) -> bool:
        backoff = Backoff(first=self.first_wait, longest=MAX_RETRY_SECONDS)
        for attempt in range(self.attempts):
            if attempt:
                self.stats.retried += 1
            wait = backoff.step()
            try:
                answer = await self.send(letter)
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
