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
from workers.ingress.app import open_gate
from workers.ingress.http.endpoint import endpoint
from workers.ingress.http.rate_limits import FREE
from workers.ingress.http.request import Call
from workers.ingress.http.responses import success
from workers.ingress.http.route import ANYONE, Answer, Route


async def nothing(call: Call) -> web.Response:
    """Answer as short as the envelope allows."""
    return success(call.request_id, None)


async def ready(_: web.Request) -> web.Response:
    """Say that the server serves."""
    return web.Response()


async def main() -> None:
    """Serve until the process is ended."""
    settings = load_settings()
    logs.configure_logging(settings.log_level)
    async with open_resources(settings, "bench") as resources, RpcClient(settings, "bench") as ask:
        gate = open_gate(resources, ask)
        app = web.Application()
        app.router.add_get("/readyz", ready)
        for path, scope in (("/open", ANYONE), ("/token", "account"), ("/key", "campaigns:read")):
            route = Route("GET", path, nothing, scope, (Answer(200),), limit=FREE)
            app.router.add_get(path, endpoint(route, gate))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, settings.host, settings.port or 0).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
