"""Outgoing HTTP: one session, a total timeout, no redirects, no cookies, answers of bounded size.

A redirect could lead anywhere and a compressed answer could be a bomb, so neither is
followed or unpacked: to us they are answers like any other malformed one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
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

MAX_RESPONSE_BYTES = 1024 * 1024
CHUNK_BYTES = 64 * 1024
CONNECTIONS_PER_HOST = 20


class HttpFailure(Exception):
    """The other side gave no usable answer; ``reason`` says how, without URL or contents."""

    def __init__(self, reason: str) -> None:
        """Keep the reason, in words."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request: the path with its query, percent-encoded, and a body as it is sent."""

    method: str
    path: str
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A whole answer; header names match whatever their case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def open_session(timeout: float) -> ClientSession:
    """Make a session whose calls take ``timeout`` seconds at most, from first to last byte."""
    return ClientSession(
        timeout=ClientTimeout(total=timeout),
        connector=TCPConnector(limit_per_host=CONNECTIONS_PER_HOST),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "adrelay"},
    )


async def fetch(
    session: ClientSession, base_url: str, call: HttpRequest, *, max_bytes: int = MAX_RESPONSE_BYTES
) -> HttpResponse:
    """Make a call and read its answer, up to ``max_bytes`` bytes. Raises ``HttpFailure``."""
    url = URL(base_url.rstrip("/") + call.path, encoded=True)
    try:
        async with session.request(
            call.method,
            url,
            data=call.body or None,
            headers=call.headers,
            allow_redirects=False,
        ) as response:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise HttpFailure("the answer is compressed although we asked for none of it")
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
    """Read ``Retry-After`` (RFC 9110 section 10.2.3): seconds from ``now``, at least 0.

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
