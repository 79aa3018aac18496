"""Outgoing HTTP: one session, a total timeout, no redirects, no cookies, responses of limited size.

A redirect could lead to any host and a compressed response could be a decompression bomb, so
neither is followed or unpacked; both count as malformed responses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from multidict import CIMultiDict
from yarl import URL

from infra.http.client_span import note_status, start_client_span
from infra.tracing import Tracer
from schemas.trace_context import TraceContext

MAX_RESPONSE_BYTES = 1024 * 1024
CHUNK_BYTES = 64 * 1024
CONNECTIONS_PER_HOST = 20


class HttpFailure(Exception):
    """There was no usable response; ``reason`` says why, without URL or contents."""

    def __init__(self, reason: str) -> None:
        """Keep the reason for logs and dead letters."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request: path and query, percent-encoded, and the body as it is sent."""

    method: str
    path: str
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    trace: TraceContext | None = None  # that it belongs to


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete response; header names are case-insensitive."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def open_session(timeout: float) -> ClientSession:
    """Open a session whose requests take at most ``timeout`` seconds in total."""
    return ClientSession(
        timeout=ClientTimeout(total=timeout),
        connector=TCPConnector(limit_per_host=CONNECTIONS_PER_HOST),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "adrelay"},
    )


async def fetch(
    session: ClientSession,
    base_url: str,
    request: HttpRequest,
    *,
    max_bytes: int = MAX_RESPONSE_BYTES,
    tracer: Tracer | None = None,
) -> HttpResponse:
    """Send a request and read its response, at most ``max_bytes``. Raises ``HttpFailure``.

    It carries its trace context (W3C Trace Context) or, where that is sampled, the one of the span
    that ``tracer`` starts for it.
    """
    url = URL(base_url.rstrip("/") + request.path, encoded=True)
    trace = request.trace
    if trace is None:
        return await _fetch(session, url, request, max_bytes)
    if tracer is None or not trace.is_sampled:
        return await _fetch(session, url, _with_trace(request, trace), max_bytes)
    with start_client_span(tracer, request.method, url, trace) as span:
        response = await _fetch(session, url, _with_trace(request, span.context), max_bytes)
        note_status(span, response.status)
        return response


def _with_trace(request: HttpRequest, trace: TraceContext) -> HttpRequest:
    return replace(request, headers={**request.headers, **trace.attributes})


async def _fetch(
    session: ClientSession, url: URL, request: HttpRequest, max_bytes: int
) -> HttpResponse:
    try:
        async with session.request(
            request.method,
            url,
            data=request.body or None,
            headers=request.headers,
            allow_redirects=False,
        ) as response:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise HttpFailure("the answer is compressed although we did not accept that")
            body = bytearray()
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                body += chunk
                if len(body) > max_bytes:
                    raise HttpFailure("the answer is too large")
            return HttpResponse(response.status, CIMultiDict(response.headers), bytes(body))
    except TimeoutError:
        raise HttpFailure("no answer in time") from None
    except (ClientError, OSError) as error:
        raise HttpFailure(f"no answer ({type(error).__name__})") from None


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Parse ``Retry-After`` (RFC 9110 section 10.2.3): seconds from ``now``, at least 0.

    ``now`` is aware. None if the header is missing or malformed.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, (moment.astimezone(UTC) - now).total_seconds())
