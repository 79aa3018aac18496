"""Owners who consent at the sandbox: ingress, auth worker and platforms, and a browser's part."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import aiohttp
from yarl import URL

from handlers.auth.token_refresh import refresh_tokens_forever
from infra.amqp.permissions import INGRESS_USER
from infra.resources import Resources, open_resources
from infra.settings import Settings
from tests.processes import free_port
from tests.sandbox import Playground, open_playground
from tests.services import as_user
from tests.workers.ingress.conftest import PATIENCE, body_of, working
from workers import auth
from workers.ingress.app import open_ingress

PASSWORD = "correct horse battery staple"
PLATFORM = "/api/v1/platforms"
JSON = {"Accept": "application/json"}


@dataclass(frozen=True)
class Owner:
    """Somebody with an account here."""

    id: UUID
    headers: dict[str, str]
    refresh_token: str


@dataclass(frozen=True)
class Stage:
    """All that takes part in a consent."""

    settings: Settings
    sandbox: Playground
    resources: Resources

    def browser(self) -> aiohttp.ClientSession:
        """Make a browser: it keeps cookies, also of an address without a name."""
        return aiohttp.ClientSession(
            self.settings.public_url,
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(total=PATIENCE),
        )

    async def register(self, browser: aiohttp.ClientSession) -> Owner:
        body = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
        response = await browser.post("/api/v1/auth/register", json=body)
        data = (await body_of(response, 201))["data"]
        headers = {"Authorization": f"Bearer {data['access_token']}"}
        return Owner(UUID(data["user"]["id"]), headers, data["refresh_token"])

    async def asked(
        self, browser: aiohttp.ClientSession, owner: Owner, platform: str = "claude"
    ) -> URL:
        """Begin to connect; gives where the browser has to go."""
        response = await browser.get(f"{PLATFORM}/{platform}/connect", headers=owner.headers | JSON)
        return URL((await body_of(response, 200))["data"]["authorize_url"], encoded=True)

    async def decided(
        self, browser: aiohttp.ClientSession, asked: URL, decision: str = "allow"
    ) -> URL:
        """Answer the consent page; gives where the platform sends the browser back to."""
        form = {**asked.query, "decision": decision}
        place = asked.with_query(None)
        async with browser.post(place, data=form, allow_redirects=False) as response:
            assert response.status == 303, await response.text()
            return URL(response.headers["Location"], encoded=True)

    async def connect(
        self, browser: aiohttp.ClientSession, owner: Owner, platform: str = "claude"
    ) -> Any:
        """Go the whole way."""
        back = await self.decided(browser, await self.asked(browser, owner, platform))
        return (await body_of(await browser.get(back), 200))["data"]

    async def accounts(self, browser: aiohttp.ClientSession, owner: Owner) -> list[dict[str, Any]]:
        response = await browser.get(PLATFORM, headers=owner.headers)
        return list((await body_of(response, 200))["data"])


def told(settings: Settings, sandbox: Playground, public_url: str) -> Settings:
    """Let a system's settings point to the sandbox."""
    names = [
        f"{platform}_{name}"
        for platform in ("claude", "chatgpt", "gemini")
        for name in ("url", "client_id", "client_secret")
    ]
    pointed = {name: getattr(sandbox.settings, name) for name in names}
    quick = {"account_poll": 0.05, "platform_timeout": 5.0}
    return settings.model_copy(update={**pointed, **quick, "public_url": public_url})


@asynccontextmanager
async def open_stage(
    settings: Settings, *, working_too: bool = True, keeping: bool = True
) -> AsyncIterator[Stage]:
    """Run everything in this loop, but the auth worker's halves only where that is wanted."""
    port = free_port()
    public_url = f"http://127.0.0.1:{port}"
    stop = asyncio.Event()
    async with open_playground(public_url=public_url) as sandbox:
        pointed = told(settings, sandbox, public_url).model_copy(update={"port": port})
        async with (
            open_resources(pointed, "auth") as resources,
            working(pointed, *(auth.SUBSCRIPTIONS if working_too else ())),
            open_ingress(as_user(INGRESS_USER, pointed), asyncio.Event()),
        ):
            kept = asyncio.create_task(refresh_tokens_forever(resources, stop)) if keeping else None
            try:
                yield Stage(pointed, sandbox, resources)
            finally:
                stop.set()
                if kept is not None:
                    await kept
