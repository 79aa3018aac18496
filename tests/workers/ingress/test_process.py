"""Tests the ingress process: start, drain on SIGTERM, exit at once on the second."""

import asyncio
import signal

import aiohttp
import orjson

from infra.settings import Settings
from tests.processes import running
from tests.workers.ingress.api.test_webhooks import STATUS, signed
from tests.workers.ingress.conftest import PATIENCE, Person

MODULE = "workers.ingress"


def request(settings: Settings) -> tuple[bytes, bytes]:
    """Build a webhook request in two parts: everything but the last byte, and the last byte."""
    body = orjson.dumps(STATUS)
    signature = signed(settings, body)["X-Claude-Signature"]
    head = (
        "POST /webhooks/claude HTTP/1.1\r\nHost: x\r\n"
        f"Content-Length: {len(body)}\r\nX-Claude-Signature: {signature}\r\n\r\n"
    )
    return head.encode() + body[:-1], body[-1:]


async def is_closed(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.close()
    return False


async def until_closed(port: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await is_closed(port):
            await asyncio.sleep(0.02)


async def test_sigterm_finishes_requests_in_flight_accepts_no_new_ones_and_exits_0(
    settings: Settings,
) -> None:
    first, last = request(settings)
    async with running(MODULE, settings) as process:
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        writer.write(first)
        await writer.drain()
        idle = await asyncio.open_connection("127.0.0.1", process.port)
        process.send(signal.SIGTERM)
        await until_closed(process.port)
        assert await idle[0].read() == b""
        writer.write(last)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.endswith(b'{"received": true}')
        assert await process.ended() == 0
        writer.close()
        idle[1].close()


async def test_a_request_on_an_idle_connection_is_answered_at_the_shutdown(
    settings: Settings,
) -> None:
    first, last = request(settings)
    async with running(MODULE, settings) as process:
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        writer.write(first + last)
        await reader.readuntil(b'{"received": true}')
        process.send(signal.SIGTERM)
        await until_closed(process.port)
        writer.write(first + last)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"Connection: close" in answer
        assert await process.ended() == 0
        writer.close()


async def test_a_second_sigterm_exits_at_once(settings: Settings) -> None:
    first, _ = request(settings)
    async with running(MODULE, settings) as process:
        _, writer = await asyncio.open_connection("127.0.0.1", process.port)
        writer.write(first)
        await writer.drain()
        process.send(signal.SIGTERM)
        await until_closed(process.port)
        process.send(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await process.ended() == 128 + signal.SIGTERM
        writer.close()


async def test_a_request_that_never_ends_is_aborted_at_the_deadline(settings: Settings) -> None:
    first, _ = request(settings)
    short = settings.model_copy(update={"shutdown_deadline": 1.0})
    async with running(MODULE, short) as process:
        _, writer = await asyncio.open_connection("127.0.0.1", process.port)
        writer.write(first)
        await writer.drain()
        process.send(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await process.ended() == 0
        writer.close()


async def test_clients_that_wait_for_a_result_get_202_at_shutdown(
    settings: Settings, manager: Person
) -> None:
    async with running(MODULE, settings) as process, aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{process.port}/api/v1/campaigns"
        body = {
            "name": "Spring",
            "budget": 1,
            "platform": "claude",
            "targeting": {"interests": [], "age_range": [18, 65]},
        }
        headers = {**manager.headers, "Prefer": "wait=30"}
        posting = asyncio.create_task(client.post(url, json=body, headers=headers))
        metrics = f"http://127.0.0.1:{process.port}/metrics"
        async with asyncio.timeout(PATIENCE):
            while (
                'adrelay_accepted_total{how="confirmed"} 1.0'
                not in await (await client.get(metrics)).text()
            ):
                await asyncio.sleep(0.05)
        process.send(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert (await posting).status == 202
            assert await process.ended() == 0
