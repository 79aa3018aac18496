"""Builds the sandbox: its platforms, their state, webhooks and simulation."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession, web

from infra.http.client import open_session
from infra.sandbox import chatgpt, claude, gemini, persistence
from infra.sandbox.consent_page import ConsentPage
from infra.sandbox.dialect import SandboxDialect
from infra.sandbox.platform_api import PlatformApi
from infra.sandbox.simulation import Schedule, Simulation
from infra.sandbox.state import PlatformState
from infra.sandbox.webhook_sender import WebhookSender
from infra.settings import Settings

log = logging.getLogger(__name__)

WEBHOOK_SECONDS = 15.0

DIALECTS: Mapping[str, SandboxDialect] = {"claude": claude, "chatgpt": chatgpt, "gemini": gemini}


@dataclass(frozen=True, slots=True)
class SandboxPlatform:
    """One platform: its API, consent page, webhooks and simulation."""

    api: PlatformApi
    consent_page: ConsentPage
    webhooks: WebhookSender
    simulation: Simulation


@dataclass(frozen=True, slots=True)
class SandboxApp:
    """All platforms and the schedule of their simulations."""

    platforms: Mapping[str, SandboxPlatform]
    schedule: Schedule

    @property
    def states(self) -> Mapping[str, PlatformState]:
        """The state of each platform by name."""
        return {name: platform.api.state for name, platform in self.platforms.items()}


SANDBOX_APP: web.AppKey[SandboxApp] = web.AppKey("sandbox_app", SandboxApp)


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[SandboxApp]:
    """Open the sandbox; a stored state is loaded now and saved at the end."""
    schedule = Schedule(settings.sandbox_metrics_seconds, settings.sandbox_status_seconds)
    path = Path(settings.sandbox_state) if settings.sandbox_state else None
    async with open_session(WEBHOOK_SECONDS) as session:
        platforms = {name: _build_platform(settings, name, schedule, session) for name in DIALECTS}
        app = SandboxApp(platforms, schedule)
        if path is not None:
            persistence.load(path, app.states)
        try:
            yield app
        finally:
            if path is not None:
                persistence.save(path, app.states)


async def run_background(settings: Settings, app: SandboxApp) -> None:
    """Run the background tasks for ever; if one fails, all are cancelled."""
    async with asyncio.TaskGroup() as group:
        for platform in app.platforms.values():
            group.create_task(platform.webhooks.run())
            group.create_task(platform.simulation.grow())
            group.create_task(platform.simulation.change())
        if settings.sandbox_state:
            group.create_task(
                persistence.save_periodically(Path(settings.sandbox_state), app.states)
            )


def _build_platform(
    settings: Settings, name: str, schedule: Schedule, session: ClientSession
) -> SandboxPlatform:
    own = settings.platform(name)
    dialect = DIALECTS[name]
    secret = f"{name}:{own.client_secret.get_secret_value()}".encode()
    state = PlatformState(dialect.ID_PREFIX, hashlib.sha256(secret).digest())
    api = PlatformApi(name, dialect, (own.client_id, own.client_secret), state)
    callback = f"{settings.public_url.rstrip('/')}/api/v1/platforms/{name}/callback"
    consent_page = ConsentPage(api, callback)
    webhooks = WebhookSender(name, dialect, own.webhook_secrets, settings.adrelay_url, session)
    if not webhooks.can_sign():
        log.warning("no webhooks are sent: no secret to sign with", extra={"platform": name})
    return SandboxPlatform(api, consent_page, webhooks, Simulation(api, webhooks, schedule))
