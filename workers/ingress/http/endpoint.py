"""What happens around every handler: ids, who may, errors in the envelope, metrics, the log.

One line is logged for a request in trouble and none for a healthy one. What is logged is
named here field by field: no header, no query string, no body.
"""

import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from infra.errors import Outage
from infra.metrics import HTTP_IN_FLIGHT, HTTP_REQUESTS, HTTP_SECONDS
from workers.ingress.backends.authentication import Principal, require_scope
from workers.ingress.http.client_address import get_client
from workers.ingress.http.errors import HttpError, not_found, unavailable
from workers.ingress.http.rate_limits import API, UNLIMITED, address_key
from workers.ingress.http.request import AppState, RequestContext, RequestIds, parse_request_ids
from workers.ingress.http.responses import add_standard_headers, failure
from workers.ingress.http.route import Route
from workers.ingress.http.single_headers import find_repeated_headers

UNKNOWN_ROUTE = "unknown"  # the route in logs and metrics when there is none
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
FIRST_ERROR = 400
FIRST_FAULT = 500
TOO_MANY = 429

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)


def wrap_handler(route: Route, state: AppState) -> Endpoint:
    """Make the aiohttp handler of a route."""
    observe = HTTP_SECONDS.labels(route.method, route.path).observe
    counters = {
        answer.status: HTTP_REQUESTS.labels(route.method, route.path, answer.status)
        for answer in route.responses
    }

    free = state.rate_limiter.scope(UNLIMITED, "")

    async def answer(request: web.Request) -> web.StreamResponse:
        began = time.perf_counter()
        HTTP_IN_FLIGHT.inc()
        ids = parse_request_ids(request.headers)
        caller: Principal | None = None
        objection = find_repeated_headers(request.headers)
        rate_limit = free
        try:
            if route.scope is not None and objection is None:
                caller, objection = await _identify(route.scope, state, request)
            limit = route.limit if route.scope is None or caller else API
            if limit.requests:
                rate_limit = state.rate_limiter.scope(
                    limit, _rate_limit_key(request, state, caller)
                )
                await rate_limit.count_request()
            if objection is not None:
                raise objection  # noqa: TRY301 - it becomes the answer here, like any other
            response = await route.handler(RequestContext(request, state, ids, caller, rate_limit))
        except Exception as error:  # noqa: BLE001 - whatever happens, an answer is owed
            response = error_response(request, error, ids, route.path, caller)
        finally:
            HTTP_IN_FLIGHT.dec()
        add_standard_headers(response, ids.request_id)
        rate_limit.add_headers(response)
        counter = counters.get(response.status)
        if counter is None:
            counter = HTTP_REQUESTS.labels(route.method, route.path, response.status)
            counters[response.status] = counter
        counter.inc()
        observe(time.perf_counter() - began)
        return response

    return answer


async def _identify(
    scope: str, state: AppState, request: web.Request
) -> tuple[Principal | None, HttpError | None]:
    """Find out who calls, and what speaks against it: that is told once the request is counted."""
    caller = None
    try:
        caller = await state.authenticator.authenticate(request.headers)
        require_scope(caller, scope)
    except HttpError as objection:
        return caller, objection
    return caller, None


def _rate_limit_key(request: web.Request, state: AppState, caller: Principal | None) -> str:
    if caller is not None:
        return caller.name
    settings = state.resources.settings
    client = get_client(request, settings.trusted_proxies, settings.forwarded_header)
    return address_key(client.address)


def unmatched_route(request: web.BaseRequest, error: web.HTTPException) -> web.Response:
    """Answer in the envelope what has no route: 404, 405 and what aiohttp itself refuses."""
    ids = parse_request_ids(request.headers)
    method = request.method if request.method in METHODS else UNKNOWN_ROUTE
    response = error_response(request, error, ids, UNKNOWN_ROUTE, None)
    add_standard_headers(response, ids.request_id)
    HTTP_REQUESTS.labels(method, UNKNOWN_ROUTE, response.status).inc()
    return response


def error_response(
    request: web.BaseRequest,
    error: Exception,
    ids: RequestIds,
    route: str,
    caller: Principal | None,
) -> web.Response:
    """Log a request that was not granted, and make the answer to it."""
    refusal = _to_http_error(error)
    fault = refusal.status >= FIRST_FAULT
    flood = refusal.status == TOO_MANY  # of which a line for each would make another
    log.log(
        logging.ERROR if fault else logging.DEBUG if flood else logging.WARNING,
        "refused",
        extra={
            "method": request.method if request.method in METHODS else UNKNOWN_ROUTE,
            "route": route,
            "status": refusal.status,
            "code": refusal.code,
            "reason": refusal.reason,
            "principal": caller.name if caller else None,
            "request_id": ids.request_id,
            "correlation_id": ids.correlation_id,
        },
        exc_info=error if refusal.status == FIRST_FAULT else None,
    )
    return failure(ids.request_id, refusal)


def _to_http_error(error: Exception) -> HttpError:
    if isinstance(error, HttpError):
        return error
    if isinstance(error, Outage):
        return unavailable()
    if isinstance(error, web.HTTPNotFound):
        return not_found("route")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return HttpError(
            405, "METHOD_NOT_ALLOWED", f"Use one of: {allowed}.", headers={"Allow": allowed}
        )
    if isinstance(error, web.HTTPException) and FIRST_ERROR <= error.status < FIRST_FAULT:
        code = error.reason.upper().replace(" ", "_")
        return HttpError(error.status, code, f"{error.reason}.")
    return HttpError(500, "INTERNAL_ERROR", "Something went wrong here.")
