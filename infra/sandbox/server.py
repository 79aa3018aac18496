"""The sandbox's HTTP server: routes, probes and lifetime."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiohttp import web

from infra.sandbox import control_api
from infra.sandbox.app import SANDBOX_APP, SandboxApp, open_app, run_background
from infra.settings import Settings

DEFAULT_PORT = 8090
MAX_BODY_BYTES = 256 * 1024
SHUTDOWN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running server: its URL, the app and its background task."""

    url: str
    app: SandboxApp
    background: asyncio.Task[None]


@asynccontextmanager
async def open_sandbox(settings: Settings) -> AsyncIterator[Sandbox]:
    """Serve on ``settings.host`` and ``settings.port`` (8090; 0 takes any free port)."""
    async with open_app(settings) as app:
        background = asyncio.create_task(run_background(settings, app))
        port = DEFAULT_PORT if settings.port is None else settings.port
        runner = web.AppRunner(
            _web_app(app, background),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.host, port).start()
            host, bound = runner.addresses[0][:2]
            yield Sandbox(f"http://{host}:{bound}", app, background)
        finally:
            await runner.cleanup()
            background.cancel()
            with suppress(asyncio.CancelledError, ExceptionGroup):
                await background


def _web_app(sandbox: SandboxApp, background: asyncio.Task[None]) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(status=503 if background.done() else 200)

    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[SANDBOX_APP] = sandbox
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    app.add_routes(control_api.routes())
    for platform in sandbox.platforms.values():
        app.add_routes(platform.api.routes())
        app.add_routes(platform.consent_page.routes())
    return app
