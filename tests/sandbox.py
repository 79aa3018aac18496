"""A sandbox on a free port, without simulation by default, and settings that point to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, ClientTimeout
from pydantic import SecretStr

from infra.deploy.secrets import make_secrets
from infra.sandbox.app import DIALECTS, SandboxApp
from infra.sandbox.server import open_sandbox
from infra.settings import Settings


@dataclass(frozen=True)
class Playground:
    """A running sandbox: its settings, its insides and its control API."""

    settings: Settings
    url: str
    app: SandboxApp
    session: ClientSession

    async def control(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        url = f"{self.url}/_control{path}"
        async with self.session.request(method, url, json=body, params=query) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def faults(self, platform: str, **faults: Any) -> None:
        await self.control("PUT", f"/{platform}", faults)

    async def campaigns(self, platform: str, **query: str) -> list[dict[str, Any]]:
        return list(await self.control("GET", f"/{platform}/campaigns", **query))

    async def calls(self, platform: str, **query: str) -> list[dict[str, Any]]:
        return list(await self.control("GET", f"/{platform}/calls", **query))


def sandbox_settings(**changes: Any) -> Settings:
    secrets = {
        name.lower(): SecretStr(secret)
        for name, secret in make_secrets().items()
        if name.endswith(("_CLIENT_SECRET", "_WEBHOOK_SECRET"))
    }
    values = {
        **secrets,
        "chatgpt_client_secret": SecretStr("chatgpt client:secret"),
        "port": 0,
        "sandbox_metrics_seconds": 0,
        "sandbox_status_seconds": 0,
        "breaker_seconds": 0.2,
        "platform_timeout": 5,
        "adrelay_url": "http://127.0.0.1:1",
        **changes,
    }
    return Settings.model_validate(values)


@asynccontextmanager
async def open_playground(**changes: Any) -> AsyncIterator[Playground]:
    settings = sandbox_settings(**changes)
    async with (
        open_sandbox(settings) as sandbox,
        ClientSession(timeout=ClientTimeout(total=10)) as session,
    ):
        urls = {f"{name}_url": f"{sandbox.url}/{name}" for name in DIALECTS}
        pointed = settings.model_copy(update=urls)
        yield Playground(pointed, sandbox.url, sandbox.app, session)
