"""Wraps a route's handler: request ids, authentication, rate limit, errors, metrics."""

import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from infra.metrics import HTTP_IN_FLIGHT, HTTP_REQUESTS, HTTP_SECONDS
from infra.web.client_address import get_client
from infra.web.error_responses import error_response
from infra.web.errors import HttpError
from infra.web.principal import Principal
from infra.web.rate_limits import API, UNLIMITED, RateLimitScope, address_key
from infra.web.request import RequestIds, parse_request_ids
from infra.web.responses import add_standard_headers
from infra.web.server_span import end_server_span, start_server_span
from infra.web.single_headers import find_repeated_headers
from workers.ingress.backends.authentication import require_scope
from workers.ingress.context import RequestContext
from workers.ingress.route import Route
from workers.ingress.state import AppState

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Counted from 0 for every route, whether it is documented or not: the share of failed requests is
# unknown to Prometheus while one of its two series is missing.
FAILED = (500, 503)


def wrap_handler(route: Route, state: AppState) -> Endpoint:
    """Build the aiohttp handler of a route."""
    tracer = state.resources.tracer
    seconds = HTTP_SECONDS.labels(route.method, route.path)
    statuses = {*(response.status for response in route.responses), *FAILED}
    counters = {
        status: HTTP_REQUESTS.labels(route.method, route.path, status) for status in statuses
    }

    # Of a route that counts no requests of clients: nothing is ever counted in it.
    unlimited = state.rate_limiter.scope(UNLIMITED, "")

    async def handle(request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        ids, span, status = parse_request_ids(request.headers), None, None
        if tracer is not None:
            span, ids = start_server_span(tracer, request, route.path, ids)
        HTTP_IN_FLIGHT.inc()
        try:
            response = await _respond(route, state, request, ids, unlimited)
            status = response.status
        finally:
            HTTP_IN_FLIGHT.dec()
            if span is not None:
                end_server_span(span, status)
        counter = counters.get(response.status)
        if counter is None:
            counter = HTTP_REQUESTS.labels(route.method, route.path, response.status)
            counters[response.status] = counter
        counter.inc()
        took = time.perf_counter() - started
        seconds.observe(took)
        if ids.trace is not None and ids.trace.is_sampled:
            seconds.mark(took, ids.trace.trace_id)
        return response

    return handle


async def _respond(
    route: Route,
    state: AppState,
    request: web.Request,
    ids: RequestIds,
    rate_limit: RateLimitScope,
) -> web.StreamResponse:
    """Authenticate and count the request, then run the handler; every error has a response."""
    principal: Principal | None = None
    error = find_repeated_headers(request.headers)
    try:
        if route.scope is not None and error is None:
            principal, error = await _authenticate(route.scope, state, request)
        rule = route.limit if route.scope is None or principal else API
        if rule.requests:
            key = _rate_limit_key(request, state, principal)
            rate_limit = state.rate_limiter.scope(rule, key)
            await rate_limit.count_request()
        if error is not None:
            raise error  # noqa: TRY301 - handled below like any other error
        context = RequestContext(request, state, ids, principal, rate_limit, route.path)
        response = await route.handler(context)
    except Exception as failed:  # noqa: BLE001 - every request gets a response
        name = None if principal is None else principal.name
        response = error_response(request, failed, ids, route.path, name)
    add_standard_headers(response, ids.request_id)
    rate_limit.add_headers(response)
    return response


async def _authenticate(
    scope: str, state: AppState, request: web.Request
) -> tuple[Principal | None, HttpError | None]:
    """Return the principal and the error, which is raised only after the request is counted."""
    principal = None
    try:
        principal = await state.authenticator.authenticate(request.headers)
        require_scope(principal, scope)
    except HttpError as error:
        return principal, error
    return principal, None


def _rate_limit_key(request: web.Request, state: AppState, principal: Principal | None) -> str:
    if principal is not None:
        return principal.name
    settings = state.resources.settings
    client = get_client(request, settings.trusted_proxies, settings.forwarded_header)
    return address_key(client.address)
