"""The bytes of HTTP: what cannot even be read as a request is refused in the envelope too.

aiohttp would answer such bytes in plain text that quotes them, and log their beginning,
which may be the beginning of an access token.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiohttp import http_parser, web

from infra import telemetry
from workers.ingress.edge import UNKNOWN, refuse
from workers.ingress.envelope import failure, stamp
from workers.ingress.gate import ids_of
from workers.ingress.refusals import Refusal

IDLE = 75.0  # seconds until a connection without a request is closed
LINGER = 2.0  # seconds to read on after an answer, for a client that is still sending

log = telemetry.get_logger(__name__)


class Protocol(web.RequestHandler):
    """aiohttp's connection, except for how it speaks of errors."""

    __slots__ = ()

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Write an answer; aiohttp's own refusals (``Expect``) are put into the envelope."""
        if isinstance(resp, web.HTTPException):
            ids = ids_of(request.headers)
            resp = refuse(request, resp, ids, UNKNOWN, None)
            stamp(resp, ids.request_id)
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - quotes the client's bytes
    ) -> web.StreamResponse:
        """Answer what did not reach a route, and close the connection."""
        ids = ids_of(request.headers)
        if status < 500:  # noqa: PLR2004 - the client's fault
            refusal = Refusal(status, "MALFORMED_REQUEST", "This is not a valid HTTP request.")
        else:
            refusal = Refusal(status, "INTERNAL_ERROR", "Something went wrong here.")
        log.warning(
            "not a valid request" if status < 500 else "a request failed",  # noqa: PLR2004 - as above
            extra={
                "status": status,
                "code": refusal.code,
                "reason": type(exc).__name__,
                "request_id": ids.request_id,
            },
        )
        telemetry.HTTP_REQUESTS.labels("unknown", "unknown", status).inc()
        response = failure(ids.request_id, refusal)
        stamp(response, ids.request_id)
        response.force_close()
        return response

    def log_exception(self, *_: object, **__: object) -> None:
        """Say that a connection failed; the exception's text may quote the client's bytes."""
        log.error("a connection failed")


def make_protocol(server: web.Server, loop: asyncio.AbstractEventLoop) -> Protocol:
    """Make the protocol of one connection.

    Raises ``RuntimeError`` without aiohttp's C parser: the one in Python had the request
    smuggling defects.
    """
    if http_parser.HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise RuntimeError("aiohttp was built without its C parser")
    return Protocol(
        server,
        loop=loop,
        access_log=None,  # type: ignore[arg-type]  # as AppRunner passes it on
        keepalive_timeout=IDLE,
        lingering_time=LINGER,
    )
