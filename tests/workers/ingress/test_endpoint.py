"""Tests what all routes share: envelope, ids, errors, size limits, log lines."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest

from infra.logs import JsonLines
from tests.infra.ledger import until
from tests.workers.ingress.conftest import DRAFT, Person, body_of, error_of
from workers.ingress.routes import ROUTES

CAMPAIGNS = "/api/v1/campaigns"
LOGIN = "/api/v1/auth/login"


async def raw(client: aiohttp.ClientSession, request: bytes) -> bytes:
    """Send raw bytes and read the whole response."""
    base = client._base_url
    assert base is not None
    reader, writer = await asyncio.open_connection(base.host, base.port)
    writer.write(request)
    await writer.drain()
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


async def test_a_valid_request_id_is_returned(
    client: aiohttp.ClientSession, manager: Person
) -> None:
    headers = {**manager.headers, "X-Request-ID": "req-7.A_b~"}
    response = await client.get("/api/v1/auth/me", headers=headers)
    body = await body_of(response, 200)
    assert body["meta"]["request_id"] == "req-7.A_b~" == response.headers["X-Request-ID"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "é", '"<script>"'])
async def test_an_invalid_request_id_is_replaced(
    client: aiohttp.ClientSession, manager: Person, given: str
) -> None:
    headers = {**manager.headers, "X-Request-ID": given}
    response = await client.get("/api/v1/auth/me", headers=headers)
    body = await body_of(response, 200)
    assert body["meta"]["request_id"] != given
    assert len(body["meta"]["request_id"]) == 32


async def test_an_unknown_path_is_404_in_the_envelope(client: aiohttp.ClientSession) -> None:
    error = await error_of(await client.get("/nothing/here"), 404)
    assert error == {"code": "NOT_FOUND", "message": "There is no such route."}


async def test_an_unsupported_method_is_405_with_allow(client: aiohttp.ClientSession) -> None:
    response = await client.put(CAMPAIGNS)
    assert (await error_of(response, 405))["code"] == "METHOD_NOT_ALLOWED"
    assert response.headers["Allow"] == "GET, HEAD, POST"


async def test_head_answers_like_get_without_a_body(client: aiohttp.ClientSession) -> None:
    response = await client.head("/openapi.json")
    assert response.status == 200
    assert int(response.headers["Content-Length"]) > 1000
    assert await response.read() == b""


async def test_a_body_that_is_not_json_is_400(
    client: aiohttp.ClientSession, manager: Person
) -> None:
    response = await client.post(
        CAMPAIGNS,
        data=b'{"name": hunter2',
        headers={**manager.headers, "Content-Type": "application/json"},
    )
    text = await response.text()
    error = await error_of(response, 400)
    assert error["code"] == "VALIDATION_ERROR"
    assert [detail["field"] for detail in error["details"]] == ["body"]
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b'"\\ud800"',
        b"",
        b"null",
        b"[]",
        b"NaN",
        b"1" * 5000,
    ],
)
async def test_malformed_bodies_are_400(
    client: aiohttp.ClientSession, manager: Person, body: bytes
) -> None:
    response = await client.post(
        CAMPAIGNS, data=body, headers={**manager.headers, "Content-Type": "application/json"}
    )
    assert (await error_of(response, 400))["code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_an_unsupported_media_type_is_415_with_accept(
    client: aiohttp.ClientSession, manager: Person, kind: str
) -> None:
    response = await client.post(
        CAMPAIGNS, data=b"{}", headers={**manager.headers, "Content-Type": kind}
    )
    assert (await error_of(response, 415))["code"] == "UNSUPPORTED_MEDIA_TYPE"
    assert response.headers["Accept"] == "application/json"


async def test_an_unknown_content_coding_is_415(
    client: aiohttp.ClientSession, manager: Person
) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "compress"}
    response = await client.post(CAMPAIGNS, data=b"{}", headers={**manager.headers, **headers})
    await error_of(response, 415)
    assert response.headers["Accept-Encoding"] == "gzip, deflate"


async def test_a_body_with_a_too_large_content_length_is_413_unread(
    client: aiohttp.ClientSession, manager: Person
) -> None:
    answer = await raw(
        client,
        b"POST /api/v1/campaigns HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Authorization: " + manager.headers["Authorization"].encode() + b"\r\n"
        b"Connection: close\r\nContent-Length: 9999999999\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"CONTENT_TOO_LARGE"' in answer


async def test_a_streamed_body_is_413_when_it_grows_too_large(
    client: aiohttp.ClientSession, manager: Person
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    headers = {**manager.headers, "Content-Type": "application/json"}
    response = await client.post(CAMPAIGNS, data=chunks(), headers=headers)
    assert (await error_of(response, 413))["code"] == "CONTENT_TOO_LARGE"


async def test_a_decompression_bomb_is_413(client: aiohttp.ClientSession, manager: Person) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    response = await client.post(CAMPAIGNS, data=bomb, headers={**manager.headers, **headers})
    assert (await error_of(response, 413))["code"] == "CONTENT_TOO_LARGE"


async def test_a_compressed_body_is_read(client: aiohttp.ClientSession, manager: Person) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = gzip.compress(aiohttp.JsonPayload(dict(DRAFT))._value)
    response = await client.post(CAMPAIGNS, data=body, headers={**manager.headers, **headers})
    await body_of(response, 202)


async def test_a_body_that_contradicts_its_content_coding_is_400(
    client: aiohttp.ClientSession, manager: Person
) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    response = await client.post(
        CAMPAIGNS, data=b"this is not gzip", headers={**manager.headers, **headers}
    )
    assert response.status == 400


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /secret-path HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"s3cret" * 3000,
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer s3cret\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\x00\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
async def test_malformed_http_is_400_in_the_envelope_and_never_quoted(
    client: aiohttp.ClientSession, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await raw(client, request_bytes)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head.partition(b"\r\n")[0]
    assert b'"code":"MALFORMED_REQUEST"' in body
    assert b"s3cret" not in answer
    lines = [JsonLines().format(record) for record in caplog.records]
    assert not [line for line in lines if "s3cret" in line]
    assert [line for line in lines if "MALFORMED_REQUEST" in line]


async def test_a_client_that_disconnects_while_sending_its_body_is_a_client_error(
    client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    base = client._base_url
    assert base is not None
    _, writer = await asyncio.open_connection(base.host, base.port)
    head = f"POST {LOGIN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + b'Content-Length: 100\r\n\r\n{"email": ')
    await writer.drain()
    writer.close()
    await until(lambda: _told(caplog, "MALFORMED_REQUEST"))
    assert max(record.levelno for record in caplog.records) < logging.ERROR


async def _told(caplog: pytest.LogCaptureFixture, code: str) -> bool:
    return any(getattr(record, "code", None) == code for record in caplog.records)


@pytest.mark.parametrize(
    "authorization",
    ["Bearer", "Basic dXNlcjpzM2NyZXQ=", "Bearer a.b.c", "Bearer " + "s3cret" * 1000, "s3cret"],
)
async def test_a_bad_authorization_is_401_and_never_logged(
    client: aiohttp.ClientSession, authorization: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    response = await client.get(CAMPAIGNS, headers={"Authorization": authorization})
    assert (await error_of(response, 401))["code"] == "INVALID_TOKEN"
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    lines = [JsonLines().format(record) for record in caplog.records]
    assert not [line for line in lines if "s3cret" in line or "dXNlcjpzM2NyZXQ" in line]


async def test_a_request_without_credentials_is_401(client: aiohttp.ClientSession) -> None:
    response = await client.get(CAMPAIGNS)
    assert (await error_of(response, 401))["code"] == "UNAUTHENTICATED"
    assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_failed_request_is_one_log_line_with_method_route_principal_and_status(
    client: aiohttp.ClientSession, manager: Person, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    headers = {**manager.headers, "X-Request-ID": "req-1"}
    await client.get(f"{CAMPAIGNS}/no-such-id?secret=s3cret", headers=headers)
    (record,) = [record for record in caplog.records if record.getMessage() == "request failed"]
    line = JsonLines().format(record)
    for part in (
        '"method":"GET"',
        '"route":"/api/v1/campaigns/{id}"',
        '"status":404',
        f'"principal":"user:{manager.id}"',
        '"request_id":"req-1"',
    ):
        assert part in line
    assert "s3cret" not in line


async def test_a_successful_request_is_not_logged(
    client: aiohttp.ClientSession, manager: Person, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await body_of(await client.get("/api/v1/auth/me", headers=manager.headers), 200)
    assert not [r for r in caplog.records if r.name.startswith(("workers", "aiohttp"))]


@pytest.mark.parametrize("path", ["/api/v1/auth/me", "/nothing/here"])
async def test_an_unknown_expect_header_is_rejected_in_the_envelope(
    client: aiohttp.ClientSession, path: str
) -> None:
    response = await client.get(path, headers={"Expect": "magic"})
    assert (await error_of(response, 417))["code"] == "EXPECTATION_FAILED"


async def test_responses_do_not_reveal_the_server_software(client: aiohttp.ClientSession) -> None:
    for path in ("/openapi.json", "/nothing/here"):
        assert (await client.get(path)).headers["Server"] == "adrelay"


async def test_the_probes_respond_on_the_same_port(client: aiohttp.ClientSession) -> None:
    assert (await client.get("/healthz")).status == 200
    ready = await body_of(await client.get("/readyz"), 200)
    assert ready == {"ready": True, "checks": {"serving": True, "broker or database": True}}
    metrics = await (await client.get("/metrics")).text()
    assert "adrelay_http_requests_total" in metrics


async def test_failures_are_counted_from_0_for_every_route(client: aiohttp.ClientSession) -> None:
    metrics = await (await client.get("/metrics")).text()
    for route in ROUTES:
        for status in (500, 503):
            labels = f'method="{route.method}",route="{route.path}",status="{status}"'
            assert f"adrelay_http_requests_total{{{labels}}}" in metrics
