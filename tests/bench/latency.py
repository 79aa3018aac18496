"""Latency from the first byte of the HTTP request to the commit of the row, at a steady rate.

Requests leave when their time has come, whether or not earlier ones are answered. When a
row was committed is what Postgres itself has noted (``track_commit_timestamp``).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import quantiles

import aiohttp

from infra.messaging.decoder import event_key
from infra.security.hmac_signature import sign_body
from tests.bench.events import report, webhook
from tests.bench.ingress import INGRESS, PEERS, peer_variables, secret_of
from tests.bench.results import Result
from tests.bench.stage import PEERS as QUEUE
from tests.bench.stage import Stage, program, server, variables
from tests.processes import free_port

SECONDS = 6
PATIENCE = 30.0  # seconds
WARM_UP = 50
OURS_COMMITTED = """
    select key::text, extract(epoch from pg_xact_commit_timestamp(xmin))::float from inbox
"""
PEERS_COMMITTED = """
    select event_id, extract(epoch from pg_xact_commit_timestamp(xmin))::float from bench_inbox
"""
SOURCE = "urn:adrelay:webhook:claude"
WORKER = ("python", "-m", "tests.bench.worker")


async def at_200(stage: Stage) -> list[Result]:
    """Measure ours at 200 events a second."""
    return await _ours(stage, "adrelay", 200)


async def outbox(stage: Stage) -> list[Result]:
    """Measure ours at 200 events a second with the metrics worker's own handler."""
    return await _ours(stage, "adrelay-outbox", 200, handler="record")


async def unbatched(stage: Stage) -> list[Result]:
    """Measure ours at 200 events a second with batches of one."""
    return await _ours(stage, "unbatched", 200, batch=1)


async def at_1000(stage: Stage) -> list[Result]:
    """Measure ours at 1,000 events a second."""
    return await _ours(stage, "adrelay-1000/s", 1000)


async def faststream(stage: Stage) -> list[Result]:
    """Measure plain aiohttp and aio-pika before FastStream at 200 events a second."""
    await stage.clear()
    await stage.declare()
    own = {**peer_variables(stage, "", QUEUE), **variables(queue=QUEUE)}
    worker = ("python", "-m", "tests.bench.peers.with_faststream")
    async with (
        program(stage.settings, worker, **own),
        server(stage.settings, PEERS["aiohttp"], **own) as port,
    ):
        sent = await _send(stage, port, 200, PEERS_COMMITTED)
        return await _results(stage, "faststream", sent, PEERS_COMMITTED, lambda name: name)


MEASURES: tuple[Callable[[Stage], Awaitable[list[Result]]], ...] = (
    at_200,
    faststream,
    unbatched,
    outbox,
    at_1000,
)


async def _ours(
    stage: Stage, name: str, rate: int, batch: int = 1000, handler: str = "upsert"
) -> list[Result]:
    await stage.clear()
    own = {**variables(handler=handler, batch=batch), "PORT": str(free_port())}
    async with (
        program(stage.settings, WORKER, **own),
        server(stage.settings, INGRESS) as port,
    ):
        sent = await _send(stage, port, rate, OURS_COMMITTED)
        return await _results(stage, name, sent, OURS_COMMITTED, _key_of)


def _key_of(event_id: str) -> str:
    event = report(0).model_copy(update={"id": event_id, "source": SOURCE})
    return str(event_key(event))


async def _send(stage: Stage, port: int, rate: int, committed: str) -> dict[str, float]:
    """Send webhooks at a steady rate; gives the time at which each left, by its id."""
    secret, sent = secret_of(stage), dict[str, float]()
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    connector = aiohttp.TCPConnector(limit=0)
    base = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(base, timeout=timeout, connector=connector) as http:

        async def post(number: int) -> None:
            body = webhook(number)
            headers = {"X-Claude-Signature": sign_body(secret, body)}
            headers["Content-Type"] = "application/json"
            sent[f"evt_{number}"] = time.time()
            async with http.post("/webhooks/claude", data=body, headers=headers) as answer:
                answer.raise_for_status()

        await asyncio.gather(*(post(number) for number in range(WARM_UP)))
        await _until(stage, committed, WARM_UP)
        sent.clear()
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(rate * SECONDS):
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                group.create_task(post(WARM_UP + number))
    await _until(stage, committed, WARM_UP + rate * SECONDS)
    return sent


async def _until(stage: Stage, committed: str, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(await stage.database.fetch(committed)) < count:
            await asyncio.sleep(0.25)


async def _results(
    stage: Stage,
    name: str,
    sent: Mapping[str, float],
    committed: str,
    key_of: Callable[[str], str],
) -> list[Result]:
    when = dict(tuple(row) for row in await stage.database.fetch(committed))
    waits = [(when[key_of(event_id)] - left) * 1000 for event_id, left in sent.items()]
    cuts = quantiles(waits, n=1000, method="inclusive")
    return [
        Result("latency_p50", name, "ms", cuts[499]),
        Result("latency_p99", name, "ms", cuts[989]),
        Result("latency_p99.9", name, "ms", cuts[998]),
    ]
