"""Builds the ingress: shared state, routes, listening port.

Ready while it is not draining and the broker *or* the database is up, since either of them can
store accepted events.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import cast

from aiohttp import web
from pydantic import SecretStr

from handlers.webhooks import SOURCES
from infra.amqp.rpc import RpcClient
from infra.background import BackgroundTasks
from infra.health import TARGETS_PATH, CheckResult, Checks, probe_routes
from infra.process import serve as serve_probes
from infra.resources import Resources, find_trouble, open_resources
from infra.security.access_tokens import TokenVerifier
from infra.settings import Settings
from infra.web.auth_worker import AuthWorkerClient
from infra.web.database import Database
from infra.web.rate_limits import RateLimiter
from infra.web.responses import to_json
from infra.web.server import RequestHandler, check_parser, drain
from workers.ingress.api.webhooks import begin_metrics
from workers.ingress.backends.authentication import Authenticator
from workers.ingress.backends.broken_paths import BrokenPaths
from workers.ingress.backends.command_order import CommandOrder
from workers.ingress.backends.durable_publisher import DurablePublisher
from workers.ingress.backends.operation_waiter import OperationWaiter
from workers.ingress.backends.outbox_writer import OutboxWriter
from workers.ingress.backends.webhook_deliveries import WebhookDeliveries
from workers.ingress.backends.webhook_recorder import WebhookRecorder
from workers.ingress.docs.asyncapi import build_asyncapi
from workers.ingress.docs.openapi import build_openapi
from workers.ingress.endpoint import wrap_handler
from workers.ingress.routes import PROBES, ROUTES
from workers.ingress.share import (
    ALONE,
    BACKLOG,
    NAME,
    ProcessShare,
    open_listener,
    respond_with_targets,
)
from workers.ingress.state import AppState

METRICS_PATH = "/metrics"
CANCEL_TIMEOUT = 1.0  # seconds for unfinished requests to be cancelled

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_ingress(
    settings: Settings, draining: asyncio.Event, share: ProcessShare = ALONE
) -> AsyncIterator[tuple[int, BackgroundTasks]]:
    """Serve until the context ends, then finish the requests in flight.

    One of several processes serves its probes and metrics on a port of its own too.

    Yields the port and the background tasks, which the caller must watch.
    """
    async with (
        open_resources(settings, NAME) as resources,
        RpcClient(settings, NAME, resources.tracer) as rpc_client,
    ):
        state = build_state(resources, rpc_client, share)
        await state.command_order.restore()
        await state.broken_paths.refresh()
        refreshing = resources.background.start(
            state.broken_paths.refresh_forever(), "refreshing the broken paths"
        )
        recording = resources.background.start(
            state.webhook_recorder.run(), "recording what webhooks came"
        )
        app = make_app(state, draining, share)
        runner = web.AppRunner(app, shutdown_timeout=CANCEL_TIMEOUT)
        await runner.setup()
        server = runner.server
        if server is None:
            raise RuntimeError("the runner was not set up")
        own_probes = await _serve_own_probes(state, draining, share)
        listener = await _listen(server, share.listener or open_listener(settings), draining)
        try:
            yield listener.sockets[0].getsockname()[1], resources.background
        finally:
            draining.set()
            listener.close()
            refreshing.cancel()
            state.operation_waiter.release_waiters()
            await drain(server, settings.shutdown_deadline)
            await state.authenticator.api_key_usage.close()
            recording.cancel()
            await asyncio.wait({recording})
            await state.webhook_recorder.write()
            await runner.cleanup()
            if own_probes is not None:
                await own_probes.cleanup()


def build_state(
    resources: Resources, rpc_client: RpcClient, share: ProcessShare = ALONE
) -> AppState:
    """Build what handlers share; raises ``ValueError`` for a missing or malformed key."""
    settings = resources.settings
    operation_key = require_keys(settings).get_secret_value().encode()
    database = Database(resources.engine)
    background = resources.background
    outbox_writer = OutboxWriter(database, resources.redis, background)
    command_order = CommandOrder(database, resources.redis, background)
    broken_paths = BrokenPaths(database)
    verifier = TokenVerifier(settings)
    secrets = {source: settings.webhook_secrets(source) for source in SOURCES}
    slots = {source: len(own) for source, own in secrets.items()}
    return AppState(
        resources=resources,
        database=database,
        durable_publisher=DurablePublisher(
            resources.publisher,
            outbox_writer,
            command_order,
            broken_paths,
            settings.confirm_deadline,
        ),
        command_order=command_order,
        broken_paths=broken_paths,
        auth_worker=AuthWorkerClient(settings, rpc_client),
        verifier=verifier,
        authenticator=Authenticator(verifier, database, background),
        operation_waiter=OperationWaiter(database, background),
        rate_limiter=RateLimiter(settings, resources.redis, operation_key, share.count),
        webhook_deliveries=WebhookDeliveries(),
        webhook_recorder=WebhookRecorder(database, slots),
        webhook_secrets=secrets,
        operation_key=operation_key,
        openapi=render_openapi(),
        asyncapi=render_asyncapi(),
    )


@cache
def render_openapi() -> bytes:
    """Render the OpenAPI document, once for each process."""
    return to_json(build_openapi(ROUTES, PROBES))


@cache
def render_asyncapi() -> bytes:
    """Render the AsyncAPI document, once for each process."""
    return to_json(build_asyncapi())


def require_keys(settings: Settings) -> SecretStr:
    """Return OPERATION_KEY; raises ``ValueError`` that names the first missing key."""
    needed = {
        "OPERATION_KEY": settings.operation_key,
        "SEAL_PUBLIC_KEY": settings.seal_public_key,
        "TOKEN_VERIFY_KEYS": settings.token_verify_keys,
    }
    for name, value in needed.items():
        if not value:
            raise ValueError(f"{name} is not set")
    return cast("SecretStr", settings.operation_key)


def make_app(
    state: AppState, draining: asyncio.Event, share: ProcessShare = ALONE
) -> web.Application:
    """Build the aiohttp application with every route and the probes.

    A page of metrics of one of several processes would be that of any of them: there is none.
    """
    app = web.Application(client_max_size=state.resources.settings.max_body_bytes)
    begin_metrics(state.webhook_secrets)
    for route in ROUTES:
        answer = wrap_handler(route, state)
        app.router.add_route(route.method, route.path, answer)
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, answer)
    probes = probe_routes(build_checks(state, draining))
    app.add_routes(probe for probe in probes if share.count == 1 or probe.path != METRICS_PATH)
    first_port = state.resources.settings.web_metrics_port
    app.router.add_get(TARGETS_PATH, respond_with_targets(share, first_port))
    return app


def build_checks(state: AppState, draining: asyncio.Event) -> Checks:
    """Build what the readiness probe asks."""

    async def checks() -> Mapping[str, CheckResult]:
        storing = await _find_storing_trouble(state) or True
        return {"serving": not draining.is_set(), "broker or database": storing}

    return checks


async def _serve_own_probes(
    state: AppState, draining: asyncio.Event, share: ProcessShare
) -> web.AppRunner | None:
    if share.count == 1:
        return None
    settings = state.resources.settings
    own = settings.model_copy(update={"port": settings.web_metrics_port + share.number})
    return await serve_probes(build_checks(state, draining), own, NAME)


async def _find_storing_trouble(state: AppState) -> str | None:
    """Say why neither the broker nor the database takes an event; None if one of them does."""
    trouble = state.resources.publisher.trouble
    if trouble is None or await state.database.is_writable():
        return None
    return f"{trouble}; {await find_trouble(state.resources) or 'the database takes no writes'}"


async def _listen(
    server: web.Server, listener: socket.socket, draining: asyncio.Event
) -> asyncio.Server:
    check_parser()
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: RequestHandler(server, loop, draining),
        sock=listener,
        backlog=BACKLOG,
    )
