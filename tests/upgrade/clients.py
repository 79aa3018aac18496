"""Clients of the API and a platform at work, with what each of them was promised."""

import asyncio
import datetime as dt
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp
import orjson

PASSWORD = "correct horse battery staple"
PAUSE = 0.4  # seconds between two requests of a client
FIRST_DAY = dt.date(2020, 1, 1)
JSON = {"Content-Type": "application/json"}
WAIT = "wait=10"
CREATED = 201
CAMPAIGNS = "/api/v1/campaigns"
TARGETING = {"interests": ["books"], "age_range": [18, 40]}


@dataclass
class Promises:
    """What was accepted: names of campaigns by id, writes, days with their impressions."""

    campaigns: dict[str, str] = field(default_factory=dict)
    writes: int = 0
    days: dict[dt.date, int] = field(default_factory=dict)
    logins: int = 0


class Clients:
    """A user who logs in and writes campaigns, and a platform that sends webhooks twice."""

    def __init__(self, http: aiohttp.ClientSession, webhook_secret: str) -> None:
        self._http = http
        self._secret = webhook_secret.encode()
        self._account = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
        self._token = ""
        self.platform_id = ""  # of the campaign that the webhooks are about
        self.promises = Promises()

    async def register(self) -> str:
        """Make an account, and the campaign that the platform reports about; gives its id."""
        _, answer = await self._send("POST", "/api/v1/auth/register", (201,), self._account)
        self._token = answer["data"]["access_token"]
        identity, _ = await self.create("reported")
        return identity

    async def create(self, name: str) -> tuple[str, bool]:
        """Create a campaign; gives its id, and whether it was seen to be there."""
        body = {"name": name, "budget": 10.5, "platform": "claude", "targeting": TARGETING}
        status, answer = await self._send("POST", CAMPAIGNS, (201, 202), body)
        identity: str = answer["data"]["id"]
        self.promises.campaigns[identity] = name
        self.promises.writes += 1
        return identity, status == CREATED

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Send on, all at once, for the length of a block."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for work in (self._write, self._log_in, self._report):
                group.create_task(self._repeat(work, stop))
            try:
                yield
            finally:
                stop.set()

    async def report_again(self) -> None:
        """Send every webhook again, as a platform does that has seen no answer."""
        for day, impressions in list(self.promises.days.items()):
            await self._webhook(day, impressions)

    async def _repeat(self, work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        while not stop.is_set():
            await work()
            await asyncio.sleep(PAUSE)

    async def _write(self) -> None:
        """Create a campaign, and change it and read it once it is there."""
        number = len(self.promises.campaigns)
        identity, is_there = await self.create(f"campaign {number}")
        if not is_there:  # the worker was being replaced for as long as the client waits
            return
        path, name = f"{CAMPAIGNS}/{identity}", f"changed {number}"
        await self._send("PATCH", path, (200, 202), {"name": name}, **{"If-Match": "*"})
        self.promises.campaigns[identity] = name
        self.promises.writes += 1
        await self._send("GET", path, (200,))

    async def _log_in(self) -> None:
        await self._send("POST", "/api/v1/auth/login", (200,), self._account)
        self.promises.logins += 1

    async def _report(self) -> None:
        """Send a day's figures as the platform, twice."""
        number = len(self.promises.days)
        day, impressions = FIRST_DAY + dt.timedelta(days=number), number + 1
        await self._webhook(day, impressions)
        self.promises.days[day] = impressions
        await self._webhook(day, impressions)

    async def _webhook(self, day: dt.date, impressions: int) -> None:
        figures = {
            "campaignId": self.platform_id,
            "date": day.isoformat(),
            "impressions": impressions,
            "clicks": 0,
            "conversions": 0,
            "spend": 0,
        }
        event = {"id": f"day-{day}", "event": "campaign.metrics_updated", "data": figures}
        body = orjson.dumps(event)
        signature = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        headers = {**JSON, "X-Claude-Signature": signature}
        async with self._http.post("/webhooks/claude", data=body, headers=headers) as answer:
            assert answer.status < 300, await answer.text()

    async def _send(
        self,
        method: str,
        path: str,
        expected: Collection[int],
        body: Mapping[str, Any] | None = None,
        **more: str,
    ) -> tuple[int, Any]:
        headers = {**JSON, "Idempotency-Key": f'"{uuid4().hex}"', "Prefer": WAIT, **more}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else orjson.dumps(body)
        async with self._http.request(method, path, data=data, headers=headers) as answer:
            assert answer.status in expected, f"{method} {path}: {await answer.text()}"
            return answer.status, orjson.loads(await answer.read())
