"""Outgoing calls against a real server that behaves badly."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from infra.http.client import HttpFailure, HttpRequest, fetch, open_session, parse_retry_after

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
MAX_BYTES = 100_000


async def echo(request: web.Request) -> web.Response:
    said = {name: request.headers.get(name) for name in ("X-Word", "Accept-Encoding", "Cookie")}
    body = f"{request.method} {request.raw_path} {await request.text()} {said}"
    return web.Response(text=body, status=207, headers={"Set-Cookie": "a=b", "X-Word": "back"})


async def redirect(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "/echo"})


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(bytes(10_000))


async def bomb(_: web.Request) -> web.Response:
    return web.Response(body=gzip.compress(bytes(10**6)), headers={"Content-Encoding": "gzip"})


async def hang(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def cut(request: web.Request) -> web.Response:
    assert request.transport
    request.transport.abort()
    return web.Response()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application()
    for handler in (redirect, endless, bomb, hang, cut):
        app.router.add_get(f"/{handler.__name__}", handler)
    app.router.add_route("*", "/echo/{rest:.*}", echo)
    async with TestServer(app, shutdown_timeout=0.1) as server:
        yield str(server.make_url(""))


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with open_session(timeout=0.5) as session:
        yield session


async def test_an_answer_is_status_headers_and_body(session: ClientSession, url: str) -> None:
    for _ in range(2):
        call = HttpRequest("PUT", "/echo/a%2Fb?c=%20d", b"hello", {"X-Word": "there"})
        answer = await fetch(session, url, call)
        assert (answer.status, answer.headers["x-word"]) == (207, "back")
        said = "{'X-Word': 'there', 'Accept-Encoding': 'identity', 'Cookie': None}"
        assert answer.body.decode() == f"PUT /echo/a%2Fb?c=%20d hello {said}"


async def test_a_redirect_is_not_followed(session: ClientSession, url: str) -> None:
    assert (await fetch(session, url, HttpRequest("GET", "/redirect"))).status == 302


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/endless", "too large"),
        ("/bomb", "compressed"),
        ("/hang", "in time"),
        ("/cut", "no answer"),
    ],
)
async def test_what_is_no_usable_answer_says_why(
    session: ClientSession, url: str, path: str, reason: str
) -> None:
    with pytest.raises(HttpFailure, match=reason):
        await fetch(session, url, HttpRequest("GET", path), max_bytes=MAX_BYTES)


async def test_a_server_that_is_not_there_is_no_answer(session: ClientSession) -> None:
    with pytest.raises(HttpFailure, match="ClientConnectorError"):
        await fetch(session, "http://127.0.0.1:1", HttpRequest("GET", "/secret-path"))


def test_what_is_sent_does_not_show_in_a_repr() -> None:
    call = HttpRequest("POST", "/", b"client_secret=hush", {"Authorization": "hush"})
    assert "hush" not in repr(call)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("17", 17),
        (" 17 ", 17),
        ("Sun, 22 Nov 2026 08:00:30 GMT", 30),
        ("Sun, 22 Nov 2026 07:00:00 GMT", 0),
        ("9" * 40, 999_999_999),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Sun, 99 Nov 2026 08:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert parse_retry_after({"Retry-After": value}, NOW) == seconds
