"""The ingress with three routes that do nothing: open to all, for tokens, for API keys.

What they cost beyond each other is what it costs to find out who calls.
"""

import asyncio

import uvloop
from aiohttp import web

from infra import logs
from infra.amqp.rpc import RpcClient
from infra.resources import open_resources
from infra.settings import load_settings
from infra.web.rate_limits import UNLIMITED
from infra.web.responses import success
from workers.ingress.app import build_state
from workers.ingress.context import RequestContext
from workers.ingress.endpoint import wrap_handler
from workers.ingress.route import PUBLIC, Route, RouteResponse


async def nothing(context: RequestContext) -> web.Response:
    """Answer as short as the envelope allows."""
    return success(context.request_id, None)


async def ready(_: web.Request) -> web.Response:
    """Say that the server serves."""
    return web.Response()


async def main() -> None:
    """Serve until the process is ended."""
    settings = load_settings()
    logs.configure_logging(settings.log_level)
    async with open_resources(settings, "bench") as resources, RpcClient(settings, "bench") as ask:
        state = build_state(resources, ask)
        app = web.Application()
        app.router.add_get("/readyz", ready)
        for path, scope in (("/open", PUBLIC), ("/token", "account"), ("/key", "campaigns:read")):
            route = Route("GET", path, nothing, scope, (RouteResponse(200),), limit=UNLIMITED)
            app.router.add_get(path, wrap_handler(route, state))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, settings.host, settings.port or 0).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
