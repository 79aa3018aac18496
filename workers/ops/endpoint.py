"""Wraps the console's routes: ids, session, CSRF, read-only mode, errors, metrics, headers."""

import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from jinja2 import TemplateError

from infra.metrics import HTTP_IN_FLIGHT, HTTP_REQUESTS, HTTP_SECONDS
from infra.web.error_responses import METHODS, MIN_SERVER_ERROR, UNKNOWN_ROUTE, to_http_error
from infra.web.errors import HttpError, forbidden
from infra.web.request import RequestIds, parse_request_ids
from infra.web.responses import add_standard_headers
from infra.web.server_span import end_server_span, start_server_span
from workers.ops import csrf
from workers.ops.authentication import authenticate
from workers.ops.error_page import error_page
from workers.ops.headers import NO_STORE, SECURITY_HEADERS
from workers.ops.kept_form import SENT_AGAIN, find_kept_form
from workers.ops.login_entry import ask_to_log_in
from workers.ops.page import Page, SeeOther
from workers.ops.request import ConsoleRequest, find_client, read_form
from workers.ops.responses import IDS, KEPT, VISITOR, to_response
from workers.ops.state import STATE

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
POST = "POST"
READ_ONLY = "This is a read-only session. Switch to acting in the account menu to change anything."

PageFunction = Callable[[ConsoleRequest], Awaitable[Page | SeeOther | web.StreamResponse]]
WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)


@web.middleware
async def frame_middleware(request: web.Request, handler: WebHandler) -> web.StreamResponse:
    """Give every request ids, a response in the frame, its metrics and its headers."""
    if request.path in PROBES:
        return await handler(request)
    resource = request.match_info.route.resource
    route = resource.canonical if resource else UNKNOWN_ROUTE
    method = request.method if request.method in METHODS else UNKNOWN_ROUTE
    state, started, span, status = request.app[STATE], time.perf_counter(), None, None
    ids = parse_request_ids(request.headers)
    if state.resources.tracer is not None:
        span, ids = start_server_span(state.resources.tracer, request, route, ids)
    request[IDS] = ids
    HTTP_IN_FLIGHT.inc()
    try:
        response = await _respond(request, handler, route, method)
        status = response.status
    finally:
        HTTP_IN_FLIGHT.dec()
        if span is not None:
            end_server_span(span, status)
    HTTP_REQUESTS.labels(method, route, response.status).inc()
    HTTP_SECONDS.labels(method, route).observe(time.perf_counter() - started)
    return response


async def _respond(
    request: web.Request, handler: WebHandler, route: str, method: str
) -> web.StreamResponse:
    try:
        response = await handler(request)
    except Exception as error:  # noqa: BLE001 - every request gets a response
        found = to_http_error(error)
        _log_failure(request, found, error, route, method)
        response = await _render_error(request, found)
    if not response.prepared:
        _add_headers(response, request[IDS])
    return response


def page_handler(function: PageFunction, entry: str, *, is_act: bool = True) -> WebHandler:
    """Build the aiohttp handler of a page or an act of admins.

    ``entry`` is the navigation's line. ``is_act`` is false for a POST that a read-only session
    may send.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        state, ids = request.app[STATE], request[IDS]
        if request.method == POST:
            csrf.check_origin(request.headers)
        client = find_client(request, state)
        visitor = await authenticate(request, state, client, ids)
        if visitor is None:
            return await ask_to_log_in(request, keep=is_act)
        request[VISITOR] = visitor
        form, session = {}, visitor.session
        if request.method == POST:
            form = await read_form(request)
            csrf.check_csrf_token(session.id, form.pop(csrf.FIELD, ""))
            if is_act and session.content.read_only:
                raise forbidden(READ_ONLY)
        is_sent_again = form.pop(SENT_AGAIN, "")
        result = await function(
            ConsoleRequest(request, state, ids, session, visitor.principal, form)
        )
        if is_sent_again:
            await state.sessions.forget_kept(session)
        elif session.content.kept_on == request.path_qs:
            request[KEPT] = await find_kept_form(state.sessions, session)
        return to_response(request, result, entry)

    return handle


async def _render_error(request: web.Request, error: HttpError) -> web.StreamResponse:
    """Render an error in the frame if the visitor is known, else alone."""
    state = request.app[STATE]
    if VISITOR not in request and error.status != 503:  # noqa: PLR2004 - nobody can be known then
        try:
            client = find_client(request, state)
            visitor = await authenticate(request, state, client, request[IDS])
        except HttpError:
            visitor = None
        if visitor is not None:
            request[VISITOR] = visitor
    page = error_page(error, request[IDS].request_id)
    try:
        response = to_response(request, page)
    except TemplateError:  # of what the frame shows
        response = web.Response(status=error.status, text=f"{page.title}. {error.message}\n")
    response.headers.update(error.headers)
    return response


def _log_failure(
    request: web.Request, found: HttpError, error: Exception, route: str, method: str
) -> None:
    visitor = request.get(VISITOR)
    is_ours = found.status >= MIN_SERVER_ERROR
    log.log(
        logging.ERROR if is_ours else logging.WARNING,
        "request failed",
        extra={
            "method": method,
            "route": route,
            "status": found.status,
            "code": found.code,
            "reason": found.reason,
            "principal": None if visitor is None else visitor.principal.name,
            "request_id": request[IDS].request_id,
        },
        exc_info=error if found.status == MIN_SERVER_ERROR else None,
    )


def _add_headers(response: web.StreamResponse, ids: RequestIds) -> None:
    add_standard_headers(response, ids.request_id)
    response.headers.update(SECURITY_HEADERS)
    response.headers.setdefault("Cache-Control", NO_STORE)
