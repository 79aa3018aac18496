"""Headers, errors, static files, probes and live streams of the console."""

import asyncio

import orjson
import pytest

from infra.settings import Settings
from schemas.users import User
from tests.workers.ops.conftest import (
    MakeAccount,
    Visit,
    serving_console,
    visiting,
    visiting_console,
)
from workers.ops.headers import CONTENT_SECURITY_POLICY


@pytest.mark.parametrize("path", ["/", "/queues", "/missing", "/login", "/static/0/console.css"])
async def test_every_response_has_the_policy_and_is_not_kept(inside: Visit, path: str) -> None:
    async with inside.client.get(path, allow_redirects=False) as response:
        headers = response.headers
    assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "adrelay"
    assert headers["X-Request-ID"]
    assert "Strict-Transport-Security" not in headers


async def test_static_files_are_kept_for_ever_under_their_hash(inside: Visit) -> None:
    page = (await inside.get("/"))[1]
    for name in ("console.css", "console.js"):
        url = page.partition(f"/{name}")[0].rpartition('"')[2] + f"/{name}"
        async with inside.client.get(url) as response:
            assert response.status == 200
            assert "immutable" in response.headers["Cache-Control"]
    assert (await inside.get("/static/0000000000000000/console.css"))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/missing", 404), ("PUT", "/queues", 405), ("POST", "/queues", 405)],
)
async def test_errors_are_in_the_frame_and_name_their_request(
    inside: Visit, method: str, path: str, status: int
) -> None:
    async with inside.client.request(method, path) as response:
        page = await response.text()
        assert response.status == status
        assert response.headers["X-Request-ID"] in page
    assert "<nav" in page


async def test_who_is_not_logged_in_sees_an_error_without_the_frame(visit: Visit) -> None:
    status, page = await visit.get("/missing")
    assert (status, "<nav" in page) == (404, False)


async def test_a_strangers_text_is_escaped(visit: Visit) -> None:
    status, page = await visit.log_in('"><script>alert(1)</script>@example.com', "wrong")
    assert status == 401
    assert "<script>alert" not in page
    status, page = await visit.get("/queues?x=%22%3E%3Cscript%3E")
    assert "<script>" not in page


async def test_probes_and_metrics_need_no_session(visit: Visit) -> None:
    await visit.get("/queues")
    assert (await visit.get("/healthz"))[0] == 200
    assert (await visit.get("/readyz"))[0] == 200
    metrics = (await visit.get("/metrics"))[1]
    assert 'adrelay_http_requests_total{method="GET",route="/queues",status="401"}' in metrics


async def test_a_stream_sends_live_values_and_ends_with_the_session(
    inside: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ops.live.CHECK_INTERVAL", 0.1)
    token = await inside.token()
    async with inside.client.get("/live?page=overview") as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        line = await response.content.readuntil(b"\n\n")
        values = orjson.loads(line.removeprefix(b"data: "))
        assert values["overview.dead"] == "0"
        assert values["frame.pauses"] == "nothing is paused"
        await inside.send("/logout", token)
        async with asyncio.timeout(10):
            await response.content.read()


async def test_a_stream_does_not_hold_up_the_end_of_the_process(
    settings: Settings, auth_worker: None, admin: User
) -> None:
    assert auth_worker is None
    async with visiting_console(settings) as (visit, stop):
        await visit.log_in(admin.email)
        async with visit.client.get("/live?page=overview") as response:
            await response.content.readuntil(b"\n\n")
            stop.set()
            async with asyncio.timeout(1.5):  # less than the time between two messages
                await response.content.read()


async def test_a_stream_needs_a_session(visit: Visit) -> None:
    assert (await visit.get("/live?page=overview"))[0] == 401


async def test_a_console_without_postgres_says_what_is_not_known(
    settings: Settings, make_account: MakeAccount, auth_worker: None
) -> None:
    assert auth_worker is None
    admin: User = await make_account("admin")
    gone = type(settings.database_url)("postgresql://adrelay@127.0.0.1:1/adrelay")
    own = settings.model_copy(update={"database_url": gone})
    async with serving_console(own) as address, visiting(address) as visit:
        status, page = await visit.log_in(admin.email)
    assert status == 200
    assert "Postgres does not answer" in page


async def test_an_unparsed_request_is_refused(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\x00\xff\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.0 400")
    writer.close()
