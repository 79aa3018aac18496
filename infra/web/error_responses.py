"""Turns exceptions into error responses, and logs them.

Failed requests are logged with one line each, successful ones are not. The fields of the log
line are listed here one by one: no header, no query string, no body.
"""

import logging

from aiohttp import web

from infra.errors import Outage
from infra.metrics import HTTP_REQUESTS
from infra.web.errors import HttpError, not_found, unavailable
from infra.web.request import RequestIds, parse_request_ids
from infra.web.responses import add_standard_headers, failure

UNKNOWN_ROUTE = "unknown"  # label of unmatched routes in logs and metrics
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
MIN_CLIENT_ERROR = 400
MIN_SERVER_ERROR = 500
TOO_MANY_REQUESTS = 429

log = logging.getLogger(__name__)


def unmatched_route(request: web.BaseRequest, error: web.HTTPException) -> web.Response:
    """Respond in the envelope where no route matches: 404, 405 and aiohttp's own errors."""
    ids = parse_request_ids(request.headers)
    method = request.method if request.method in METHODS else UNKNOWN_ROUTE
    response = error_response(request, error, ids, UNKNOWN_ROUTE, None)
    add_standard_headers(response, ids.request_id)
    HTTP_REQUESTS.labels(method, UNKNOWN_ROUTE, response.status).inc()
    return response


def error_response(
    request: web.BaseRequest, error: Exception, ids: RequestIds, route: str, principal: str | None
) -> web.Response:
    """Log a failed request and build its response; ``principal`` is a name for the log.

    429 is logged at DEBUG: one line per rejected request would itself be a flood.
    """
    found = to_http_error(error)
    if found.status >= MIN_SERVER_ERROR:
        level = logging.ERROR
    else:
        level = logging.DEBUG if found.status == TOO_MANY_REQUESTS else logging.WARNING
    log.log(
        level,
        "request failed",
        extra={
            "method": request.method if request.method in METHODS else UNKNOWN_ROUTE,
            "route": route,
            "status": found.status,
            "code": found.code,
            "reason": found.reason,
            "principal": principal,
            "request_id": ids.request_id,
            "correlation_id": ids.correlation_id,
        },
        exc_info=error if found.status == MIN_SERVER_ERROR else None,
    )
    return failure(ids.request_id, found)


def to_http_error(error: Exception) -> HttpError:
    """Convert any exception; an unexpected one becomes 500."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, Outage):
        return unavailable()
    if isinstance(error, web.HTTPNotFound):
        return not_found("route")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"Use one of: {allowed}."
        return HttpError(405, "METHOD_NOT_ALLOWED", message, headers={"Allow": allowed})
    if isinstance(error, web.HTTPException) and error.status in range(
        MIN_CLIENT_ERROR, MIN_SERVER_ERROR
    ):
        code = error.reason.upper().replace(" ", "_")
        return HttpError(error.status, code, f"{error.reason}.")
    return HttpError(500, "INTERNAL_ERROR", "Something went wrong here.")
