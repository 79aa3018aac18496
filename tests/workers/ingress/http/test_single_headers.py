"""Tests that a repeated header with a single value is 400."""

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest
from yarl import URL

from infra.settings import Settings
from tests.workers.ingress.api.test_events import report
from tests.workers.ingress.api.test_webhooks import STATUS, signed
from tests.workers.ingress.conftest import PATIENCE, SOURCE, MakeCampaign, Person

Lines = list[tuple[str, str]]


async def send(
    client: aiohttp.ClientSession, method: str, path: str, lines: Lines, body: bytes = b""
) -> tuple[int, Any]:
    """Send headers exactly as given, which no HTTP library does."""
    base = client._base_url or URL()
    head = [("Host", "x"), ("Connection", "close"), ("Content-Length", str(len(body))), *lines]
    text = "".join(f"{name}: {value}\r\n" for name, value in head)
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(base.host, base.port)
        writer.write(f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode() + body)
        answer = await reader.read()
        writer.close()
    status, _, rest = answer.partition(b"\r\n")
    content = rest.partition(b"\r\n\r\n")[2]
    return int(status.split()[1]), orjson.loads(content) if content else None


def binary(key: str) -> tuple[Lines, bytes]:
    event = report()
    data = orjson.dumps(event.pop("data"))
    lines = [(f"ce-{name}", str(value)) for name, value in event.items()]
    lines = [line for line in lines if line[0] != "ce-datacontenttype"]
    return [*lines, ("Content-Type", "application/json"), ("X-API-Key", key)], data


@pytest.mark.parametrize("name", ["ce-id", "ce-source", "CE-TYPE", "ce-specversion", "ce-comext"])
@pytest.mark.parametrize("same", [True, False])
async def test_a_repeated_attribute_is_400(
    client: aiohttp.ClientSession, api_key: str, name: str, *, same: bool
) -> None:
    lines, body = binary(api_key)
    lines.append(("ce-comext", "x"))
    held = {key.lower(): value for key, value in lines}[name.lower()]
    lines.append((name, held if same else SOURCE + ":other"))
    status, answer = await send(client, "POST", "/api/v1/events", lines, body)
    assert status == 400
    assert [line["field"] for line in answer["error"]["details"]] == [name.lower()]


async def test_a_repeated_credential_is_400(
    client: aiohttp.ClientSession, manager: Person, admin: Person, api_key: str
) -> None:
    one, other = manager.headers["Authorization"], admin.headers["Authorization"]
    me = "/api/v1/auth/me"
    assert (await send(client, "GET", me, [("Authorization", one)]))[0] == 200
    for second in (one, other, "Basic eDp5"):
        lines = [("Authorization", one), ("authorization", second)]
        status, answer = await send(client, "GET", me, lines)
        assert (status, answer["error"]["details"][0]["field"]) == (400, "authorization")
    for lines in (
        [("X-API-Key", api_key), ("X-API-Key", "adr_other")],
        [("X-API-Key", api_key), ("Authorization", one)],
    ):
        assert (await send(client, "GET", "/api/v1/campaigns", lines))[0] == 400


@pytest.mark.parametrize("name", ["Content-Type", "Idempotency-Key"])
async def test_a_repeated_content_type_or_idempotency_key_is_400(
    client: aiohttp.ClientSession, api_key: str, name: str
) -> None:
    lines, body = binary(api_key)
    lines += [(name, "application/json"), (name.lower(), "application/json")]
    assert (await send(client, "POST", "/api/v1/events", lines, body))[0] == 400


async def test_a_repeated_signature_is_400(
    client: aiohttp.ClientSession, settings: Settings
) -> None:
    body = orjson.dumps(STATUS)
    lines = [*signed(settings, body).items()]
    assert (await send(client, "POST", "/webhooks/claude", lines, body))[0] == 200
    twice = [*lines, ("x-claude-signature", "0" * 64)]
    assert (await send(client, "POST", "/webhooks/claude", twice, body))[0] == 400
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        status, _ = await send(
            client, "POST", "/webhooks/chatgpt", [(name, "x"), (name, "y")], body
        )
        assert status == 400


async def test_repeated_ids_are_ignored(client: aiohttp.ClientSession) -> None:
    lines = [("X-Request-ID", "one"), ("x-request-id", "two")]
    status, answer = await send(client, "GET", "/api/v1/auth/me", lines)
    assert status == 401
    assert answer["meta"]["request_id"] not in ("one", "two")


async def test_list_headers_may_be_repeated(
    client: aiohttp.ClientSession, manager: Person, make_campaign: MakeCampaign
) -> None:
    campaign = await make_campaign()  # at version 3
    lines = [*manager.headers.items(), ("Content-Type", "application/json")]
    lines += [("If-Match", '"2"'), ("if-match", '"3"'), ("Prefer", "x"), ("Prefer", "wait=0")]
    path = f"/api/v1/campaigns/{campaign.id}"
    assert (await send(client, "PATCH", path, lines, b'{"name": "New"}'))[0] == 202
