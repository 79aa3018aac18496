"""aiohttp's connection handler, with error responses in the envelope and a graceful drain.

aiohttp itself answers a malformed request in plain text that quotes its bytes, and logs their
beginning, which may be the beginning of an access token.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any

from aiohttp import http_parser, web
from multidict import CIMultiDict, CIMultiDictProxy

from infra import metrics
from infra.web.error_responses import unmatched_route
from infra.web.errors import HttpError
from infra.web.request import parse_request_ids
from infra.web.responses import add_standard_headers, failure

KEEPALIVE_TIMEOUT = 75.0  # seconds until an idle connection is closed
POLL_INTERVAL = 0.02  # seconds between two checks for requests in flight
IDLE_GRACE = 1.0  # seconds that a request may be on its way when the shutdown begins
LINGER_TIMEOUT = 2.0  # seconds to read on after a response while the client is still sending

log = logging.getLogger(__name__)


class RequestHandler(web.RequestHandler):
    """Handles one connection as aiohttp does, except for error responses and the shutdown.

    On shutdown aiohttp stops reading the bodies of requests in flight; this class goes on.
    """

    __slots__ = ("_draining",)

    def __init__(
        self, server: web.Server, loop: asyncio.AbstractEventLoop, draining: asyncio.Event
    ) -> None:
        """Serve a connection; once ``draining`` is set the next response closes it."""
        self._draining = draining
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # as AppRunner passes it on
            keepalive_timeout=KEEPALIVE_TIMEOUT,
            lingering_time=LINGER_TIMEOUT,
        )

    @property
    def is_busy(self) -> bool:
        """Whether a request is in flight."""
        return self._request_in_progress or bool(self._messages)

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send a response; aiohttp's own errors are converted to the envelope."""
        if isinstance(resp, web.HTTPException):
            resp = unmatched_route(request, resp)
        if self._draining.is_set():
            resp.force_close()
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - quotes the client's bytes
    ) -> web.StreamResponse:
        """Respond to what did not reach a route, and close the connection."""
        ids = parse_request_ids(
            CIMultiDictProxy(CIMultiDict(request.headers))
        )  # a plain dict if no request was parsed
        if status < 500:  # noqa: PLR2004 - the client's fault
            http_error = HttpError(status, "MALFORMED_REQUEST", "This is not a valid HTTP request.")
        else:
            http_error = HttpError(status, "INTERNAL_ERROR", "Something went wrong here.")
        log.warning(
            "malformed request" if status < 500 else "request failed",  # noqa: PLR2004 - as above
            extra={
                "status": status,
                "code": http_error.code,
                "reason": type(exc).__name__,
                "request_id": ids.request_id,
            },
        )
        metrics.HTTP_REQUESTS.labels("unknown", "unknown", status).inc()
        response = failure(ids.request_id, http_error)
        add_standard_headers(response, ids.request_id)
        response.force_close()
        return response

    def log_exception(self, *_: object, **__: object) -> None:
        """Log without the exception, whose text may quote the client's bytes."""
        log.error("connection failed")


def check_parser() -> None:
    """Raise ``RuntimeError`` without aiohttp's C parser: the Python one had smuggling defects."""
    if http_parser.HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise RuntimeError("aiohttp was built without its C parser")


async def drain(server: web.Server, deadline: float) -> None:
    """Wait ``deadline`` seconds for requests in flight, and close idle connections.

    A client may have sent a request on a connection that is idle here. Such a one is answered,
    which closes the connection, so idle connections are closed only after ``IDLE_GRACE``.
    """
    began = time.monotonic()
    while True:
        passed = time.monotonic() - began
        is_late = passed >= min(IDLE_GRACE, deadline)
        busy = _close_idle(server) if is_late else len(server.connections)
        if not busy or passed >= deadline:
            break
        await asyncio.sleep(POLL_INTERVAL)
    if busy:
        log.warning("requests in flight were aborted", extra={"count": busy})


def _close_idle(server: web.Server) -> int:
    """Close idle connections; returns the number of the others."""
    busy = 0
    for connection in server.connections:
        if isinstance(connection, RequestHandler) and connection.is_busy:
            busy += 1
        else:
            connection.force_close()
    return busy
