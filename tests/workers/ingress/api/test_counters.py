"""The counters of every route for events, compared with what was sent."""

import io
import re
from collections import Counter
from typing import Any

import aiohttp
import orjson
from aio_pika.abc import AbstractConnection

from infra.amqp import topology
from infra.settings import Settings
from tests.workers.ingress.api.test_events import BATCH, PATH, STRUCTURED, report
from tests.workers.ingress.api.test_webhooks import METRICS, signed
from tests.workers.ingress.conftest import DRAFT, MakeKey, Person

SAMPLE = re.compile(r"^(adrelay_\w+_total)\{(.*)\} ([0-9.e+]+)$", re.MULTILINE)
WATCHED = (
    "adrelay_ingested_total",
    "adrelay_webhooks_total",
    "adrelay_accepted_total",
    "adrelay_http_requests_total",
)


async def counters(client: aiohttp.ClientSession) -> Counter[tuple[str, ...]]:
    """Read the counters of the doors: their names and the values of their labels."""
    text = await (await client.get("/metrics")).text()
    found: Counter[tuple[str, ...]] = Counter()
    for name, labels, value in SAMPLE.findall(text):
        if name in WATCHED:
            found[name, *re.findall(r'"([^"]*)"', labels)] = int(float(value))
    return found


class Door:
    """Sends requests and keeps what they should count."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self.client = client
        self.expected: Counter[tuple[str, ...]] = Counter()

    async def post(
        self, path: str, status: int, body: Any, headers: dict[str, str], route: str = ""
    ) -> None:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        response = await self.client.post(path, data=io.BytesIO(data), headers=headers)
        assert response.status == status, await response.text()
        self.expected["adrelay_http_requests_total", "POST", route or path, str(status)] += 1

    def ingested(self, **verdicts: int) -> None:
        for verdict, count in verdicts.items():
            self.expected["adrelay_ingested_total", verdict] += count
        self.accepted(verdicts.get("accepted", 0))

    def accepted(self, count: int) -> None:
        self.expected["adrelay_accepted_total", "confirmed"] += count


async def events(door: Door, key: str) -> None:
    """Structured, binary and batch: good, bad, forbidden, no event at all."""
    single = {"X-API-Key": key, "Content-Type": STRUCTURED}
    await door.post(PATH, 202, report("a"), single)
    await door.post(PATH, 400, report("b", time=5), single)
    await door.post(PATH, 400, report("b", type="no.such.v1"), single)
    await door.post(PATH, 403, report("b", source="urn:other"), single)
    await door.post(PATH, 400, b"{", single)
    await door.post(PATH, 415, b"x", {**single, "Content-Type": "text/plain"})
    await door.post(PATH, 413, report("b", filler="x" * 2_000_000), single)
    door.ingested(accepted=1, refused=6)
    named = {f"ce-{name}": str(report("d")[name]) for name in ("specversion", "source", "type")}
    binary = {"X-API-Key": key, "Content-Type": "application/json", **named}
    await door.post(PATH, 202, report()["data"], {**binary, "ce-id": "d"})
    await door.post(PATH, 400, report()["data"], binary)
    await door.post(PATH, 400, b"{", {**binary, "ce-id": "e"})
    await door.post(PATH, 400, report()["data"], {**binary, "ce-id": "e", "ce-type": "x.y.v1"})
    door.ingested(accepted=1, refused=3)
    batch = {"X-API-Key": key, "Content-Type": BATCH}
    mixed = [report("f"), report("f"), report("g"), report("h", source="urn:other"), 7, {}]
    await door.post(PATH, 207, mixed, batch)
    door.ingested(accepted=2, duplicate=1, refused=3)
    await door.post(PATH, 400, {}, batch)
    door.ingested(refused=1)
    await door.post(PATH, 401, report("i"), {**single, "X-API-Key": "nonsense"})


async def webhooks(door: Door, settings: Settings) -> None:
    """Genuine, not understood, forged, too large."""
    path, route, name = "/webhooks/claude", "/webhooks/{source}", "adrelay_webhooks_total"
    for body, status, outcome in (
        (orjson.dumps(METRICS), 200, "accepted"),
        (b"{}", 200, "unrecognised"),
        (b" " * (settings.max_body_bytes + 1), 413, "refused"),
    ):
        await door.post(path, status, body, signed(settings, body), route)
        door.expected[name, outcome, "claude"] += 1
    await door.post(path, 401, b"{}", {"X-Claude-Signature": "0" * 64}, route)
    door.expected[name, "bad_signature", "claude"] += 1
    door.accepted(2)


async def campaigns(door: Door, manager: Person) -> None:
    """Writes of people, good and bad."""
    path = "/api/v1/campaigns"
    headers = {**manager.headers, "Content-Type": "application/json"}
    await door.post(path, 202, DRAFT, headers)
    await door.post(path, 400, {**DRAFT, "budget": -1}, headers)
    await door.post(path, 401, DRAFT, {"Content-Type": "application/json"})
    door.accepted(1)


async def test_every_door_counts_what_was_sent_to_it(
    client: aiohttp.ClientSession, api_key: str, manager: Person, settings: Settings
) -> None:
    before = await counters(client)
    door = Door(client)
    await events(door, api_key)
    await webhooks(door, settings)
    await campaigns(door, manager)
    register = {"email": "nobody", "password": "x"}
    path = "/api/v1/auth/register"
    await door.post(path, 400, register, {"Content-Type": "application/json"})
    counted = await counters(client) - before
    assert {key: n for key, n in counted.items() if "/metrics" not in key} == door.expected


async def test_what_no_broker_and_no_database_takes_is_counted_as_unavailable(
    hasty: aiohttp.ClientSession, make_api_key: MakeKey, broker: AbstractConnection
) -> None:
    """Without the binding nothing is routed, and what is unroutable is not stored."""
    key = await make_api_key()
    before = await counters(hasty)
    async with broker.channel() as channel:
        work = await channel.get_exchange(topology.WORK_EXCHANGE, ensure=False)
        history = await channel.get_queue(topology.EVENT_LOG, ensure=False)
        await work.unbind(topology.EVENTS_EXCHANGE, "#")
        await history.unbind(topology.EVENTS_EXCHANGE, "#")
        try:
            headers = {"X-API-Key": key, "Content-Type": STRUCTURED}
            response = await hasty.post(PATH, data=orjson.dumps(report("a")), headers=headers)
            assert response.status == 503
            batch = orjson.dumps([report("b"), report("c"), {}])
            headers["Content-Type"] = BATCH
            assert (await hasty.post(PATH, data=batch, headers=headers)).status == 503
        finally:
            await work.bind(topology.EVENTS_EXCHANGE, "#")
            await history.bind(topology.EVENTS_EXCHANGE, "#")
    counted = await counters(hasty) - before
    assert {key[1]: n for key, n in counted.items() if "ingested" in key[0]} == {"unavailable": 4}
