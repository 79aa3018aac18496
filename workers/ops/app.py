"""Builds the console: shared state, routes, listening port."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from infra.amqp.rpc import RpcClient
from infra.background import BackgroundTasks
from infra.health import probe_routes
from infra.process import PORTS
from infra.resources import Resources, open_resources
from infra.security.access_tokens import TokenVerifier
from infra.settings import Settings
from infra.web.auth_worker import AuthWorkerClient
from infra.web.database import Database
from infra.web.rate_limits import RateLimiter
from infra.web.server import RequestHandler, check_parser, drain
from workers.ops.alerts.console_alerts import ConsoleAlerts
from workers.ops.alerts.prometheus_alerts import PrometheusAlerts
from workers.ops.assets import load_assets, serve_asset
from workers.ops.doctor import Doctor
from workers.ops.endpoint import frame_middleware, page_handler
from workers.ops.gate import get_login, post_login
from workers.ops.kept_form import KeptFormSealer
from workers.ops.live import LiveStreams
from workers.ops.log_reader import LogReader
from workers.ops.processes import ProcessMonitor
from workers.ops.render import build_environment
from workers.ops.routes import LIVE_PAGES, ROUTES
from workers.ops.sampler import AlertJudge, Sampler
from workers.ops.session import SessionStore
from workers.ops.state import STATE, ConsoleState

NAME = "ops"
CANCEL_TIMEOUT = 1.0  # seconds for unfinished requests to be cancelled

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_console(
    settings: Settings, draining: asyncio.Event
) -> AsyncIterator[tuple[int, BackgroundTasks]]:
    """Serve until the context ends, then finish the requests in flight.

    Yields the port and the background tasks, which the caller must watch.
    """
    async with (
        open_resources(settings, NAME) as resources,
        RpcClient(settings, NAME, resources.tracer) as rpc_client,
    ):
        alerts = make_alerts(settings)
        if isinstance(alerts, PrometheusAlerts):
            resources.background.start(alerts.run(draining), "alerts")
        state = build_state(resources, rpc_client, draining, alerts)
        await state.sampler.take()
        sampling = resources.background.start(state.sampler.run(draining), "sampling")
        probing = resources.background.start(state.processes.run(draining), "probing")
        runner = web.AppRunner(make_app(state), shutdown_timeout=CANCEL_TIMEOUT)
        await runner.setup()
        server = runner.server
        if server is None:
            raise RuntimeError("the runner was not set up")
        listener = await _listen(server, settings, draining)
        try:
            yield listener.sockets[0].getsockname()[1], resources.background
        finally:
            draining.set()
            listener.close()
            await drain(server, settings.shutdown_deadline)
            sampling.cancel()
            probing.cancel()
            await runner.cleanup()
            await state.log_reader.close()


def make_alerts(settings: Settings) -> ConsoleAlerts | PrometheusAlerts:
    """Choose where alerts come from: Prometheus where one is configured."""
    url = settings.prometheus_url
    return ConsoleAlerts() if url is None else PrometheusAlerts(url.get_secret_value())


def build_state(
    resources: Resources, rpc_client: RpcClient, draining: asyncio.Event, alerts: AlertJudge
) -> ConsoleState:
    """Build what requests share; raises ``ValueError`` for a missing or malformed key."""
    settings = resources.settings
    operation_key = require_keys(settings)
    database = Database(resources.engine)
    assets = load_assets()
    processes = ProcessMonitor(settings)
    return ConsoleState(
        resources=resources,
        database=database,
        auth_worker=AuthWorkerClient(settings, rpc_client),
        verifier=TokenVerifier(settings),
        rate_limiter=RateLimiter(settings, resources.redis, operation_key),
        sessions=SessionStore(resources.redis, settings),
        kept_forms=KeptFormSealer(operation_key),
        sampler=Sampler(database, resources.redis, resources.publisher, processes, alerts),
        processes=processes,
        log_reader=LogReader(settings, NAME),
        doctor=Doctor(settings),
        environment=build_environment(),
        assets=assets,
        operation_key=operation_key,
        draining=draining,
    )


def require_keys(settings: Settings) -> bytes:
    """Return OPERATION_KEY; raises ``ValueError`` that names the first missing key."""
    needed = {
        "OPERATION_KEY": settings.operation_key,
        "SEAL_PUBLIC_KEY": settings.seal_public_key,
        "TOKEN_VERIFY_KEYS": settings.token_verify_keys,
    }
    for name, value in needed.items():
        if not value:
            raise ValueError(f"{name} is not set")
    key = settings.operation_key
    return b"" if key is None else key.get_secret_value().encode()


def make_app(state: ConsoleState) -> web.Application:
    """Build the aiohttp application with every route and the probes."""

    async def checks() -> Mapping[str, bool]:
        return {"serving": not state.draining.is_set()}

    settings = state.resources.settings
    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[frame_middleware])
    app[STATE] = state
    for route in ROUTES:
        handler = page_handler(route.function, route.entry, is_act=route.is_act)
        app.router.add_route(route.method, route.path, handler)
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, handler)
    app.router.add_get("/login", get_login)
    app.router.add_post("/login", post_login)
    app.router.add_get("/live", page_handler(LiveStreams(LIVE_PAGES).serve, ""))
    app.router.add_get("/static/{hash}/{name}", _serve_static)
    app.add_routes(probe_routes(checks))
    return app


async def _serve_static(request: web.Request) -> web.Response:
    return serve_asset(request.app[STATE].assets, request)


async def _listen(
    server: web.Server, settings: Settings, draining: asyncio.Event
) -> asyncio.Server:
    check_parser()
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: RequestHandler(server, loop, draining),
        settings.host,
        PORTS[NAME] if settings.port is None else settings.port,
    )
