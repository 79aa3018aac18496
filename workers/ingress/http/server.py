"""The bytes of HTTP: what cannot even be read as a request is refused in the envelope too.

aiohttp would answer such bytes in plain text that quotes them, and log their beginning,
which may be the beginning of an access token.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any

from aiohttp import http_parser, web
from multidict import CIMultiDict, CIMultiDictProxy

from infra import metrics
from workers.ingress.http.error_responses import unmatched_route
from workers.ingress.http.errors import HttpError
from workers.ingress.http.request import parse_request_ids
from workers.ingress.http.responses import add_standard_headers, failure

KEEPALIVE_TIMEOUT = 75.0  # seconds until a connection without a request is closed
POLL_INTERVAL = 0.02  # seconds between two looks at what is still in flight
LINGER_TIMEOUT = 2.0  # seconds to read on after an answer, for a client that is still sending

log = logging.getLogger(__name__)


class RequestHandler(web.RequestHandler):
    """aiohttp's connection, except for how it speaks of errors and how it ends.

    aiohttp would stop reading the bodies of requests in flight as soon as it is told to end.
    """

    __slots__ = ("_draining",)

    def __init__(
        self, server: web.Server, loop: asyncio.AbstractEventLoop, draining: asyncio.Event
    ) -> None:
        """Begin; once ``draining`` is set the next answer is the last one."""
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
        """Whether a request is being read or answered."""
        return self._request_in_progress or bool(self._messages)

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Write an answer; aiohttp's own refusals are put into the envelope."""
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
        """Answer what did not reach a route, and close the connection."""
        ids = parse_request_ids(
            CIMultiDictProxy(CIMultiDict(request.headers))
        )  # a dict, when none was read
        if status < 500:  # noqa: PLR2004 - the client's fault
            refusal = HttpError(status, "MALFORMED_REQUEST", "This is not a valid HTTP request.")
        else:
            refusal = HttpError(status, "INTERNAL_ERROR", "Something went wrong here.")
        log.warning(
            "not a valid request" if status < 500 else "a request failed",  # noqa: PLR2004 - as above
            extra={
                "status": status,
                "code": refusal.code,
                "reason": type(exc).__name__,
                "request_id": ids.request_id,
            },
        )
        metrics.HTTP_REQUESTS.labels("unknown", "unknown", status).inc()
        response = failure(ids.request_id, refusal)
        add_standard_headers(response, ids.request_id)
        response.force_close()
        return response

    def log_exception(self, *_: object, **__: object) -> None:
        """Say that a connection failed; the exception's text may quote the client's bytes."""
        log.error("a connection failed")


def check_parser() -> None:
    """Refuse to start without aiohttp's C parser: the one in Python had smuggling defects."""
    if http_parser.HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise RuntimeError("aiohttp was built without its C parser")


async def drain(server: web.Server, deadline: float) -> None:
    """Close idle connections, and give the others ``deadline`` seconds to be answered."""
    until = time.monotonic() + deadline
    busy = _busy(server)
    while busy and time.monotonic() < until:
        await asyncio.sleep(POLL_INTERVAL)
        busy = _busy(server)
    if busy:
        log.warning("giving up requests in flight", extra={"count": busy})


def _busy(server: web.Server) -> int:
    busy = 0
    for connection in server.connections:
        if isinstance(connection, RequestHandler) and connection.is_busy:
            busy += 1
        else:
            connection.force_close()
    return busy
