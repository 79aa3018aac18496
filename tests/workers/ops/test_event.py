"""The page of one event: its answer, journey, tree, arrival and body, whatever its texts are."""

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import orjson
import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology
from infra.amqp.permissions import WORKERS_USER
from infra.errors import Permanent, Transient
from infra.messaging.context import Context
from infra.messaging.event_search import EventQuery
from infra.messaging.outbox_relay import relay_once
from infra.resources import Resources
from tests.infra.commands.test_dead_letters import filing_dead_letters
from tests.infra.indexing import find_outcome, indexed, indexing, search
from tests.infra.ledger import QUEUE, consuming, create, publish, report, until
from tests.infra.messaging.test_event_search import recorded
from tests.workers.ops.conftest import Visit

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e\"'><b>{{7*7}}"
COPIED = re.compile(r'data-copy="[^"]*"')
SHOWN = "&lt;script&gt;alert(1)&lt;/script&gt;"


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


@pytest.fixture
async def index(resources: Resources) -> AsyncIterator[None]:
    async with indexing(resources):
        yield


async def cause_one(events: list[Any], ctx: Context) -> list[Any]:
    """Cause one event for each, as the metrics worker does."""
    assert ctx.tx is not None
    return [recorded(one) for one in events]


async def refuse(events: list[Any], ctx: Context) -> list[Any]:
    """Fail for ever, with hostile text in the reason."""
    raise Permanent(f"{HOSTILE} {len(events)} {ctx.tx is not None}")


def path_of(event_id: str, **query: str) -> str:
    given = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    return f"/events/{quote(event_id, safe='')}?{given}"


async def publish_raw(broker: AbstractConnection, body: bytes, **options: Any) -> None:
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE)
        message = Message(body, delivery_mode=2, user_id=WORKERS_USER, **options)
        await exchange.publish(message, "campaign.metrics_reported.v1.claude", timeout=10)


@pytest.mark.usefixtures("index")
async def test_a_handled_event_shows_what_it_caused_and_its_body(
    inside: Visit, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event = report(1, id=uuid4().hex, subject="c-1")

    async with consuming(resources, cause_one):
        await publish(broker, event)
        await find_outcome(engine, event.id, lambda one: one.state == "handled")
    await relay_once(resources)
    await indexed(engine, event.id)
    (caused,) = await _wait_for_caused(engine, event.id)
    status, page = await inside.get(path_of(event.id, source="urn:test"))
    assert status == 200, page
    assert "metrics.record has handled it" in page
    assert "campaign.metrics_recorded.v1" in page
    assert f'href="/events/{caused.id}?source=urn%3Aadrelay%3Ametrics"' in page
    assert "Fits its schema" in page
    assert '<span class="k">&#34;impressions&#34;</span>' in page
    status, page = await inside.get(path_of(event.id, view="properties"))
    assert "application/cloudevents+json" in page
    status, page = await inside.get(path_of(event.id, view="bytes"))
    assert "0000  7b" in page


async def _wait_for_caused(engine: AsyncEngine, event_id: str) -> Any:
    found: list[Any] = []

    async def is_there() -> bool:
        (event,) = (await search(engine, EventQuery("id", event_id))).events
        found[:] = event.caused
        return bool(found)

    await until(is_there)
    return found


@pytest.mark.usefixtures("index")
async def test_an_event_that_waits_says_until_when_and_why(
    inside: Visit, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event = report(1, id=uuid4().hex)

    async def fail(events: list[Any], ctx: Context) -> list[Any]:
        assert ctx.tx is not None
        raise Transient(f"locked {HOSTILE}", events=events)

    async with consuming(resources, fail):
        await publish(broker, event)
        await find_outcome(engine, event.id, lambda one: one.state == "waiting")
        status, page = await inside.get(path_of(event.id))
    assert status == 200, page
    assert "failed at metrics.record" in page
    assert SHOWN in page
    assert "Next attempt at" in page
    assert 'class="wait"' in page
    assert "<script>alert" not in page


@pytest.mark.usefixtures("index")
async def test_hostile_text_in_every_field_is_shown_and_never_run(
    inside: Visit, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event_id = f"{uuid4().hex}/{HOSTILE}"
    body = {
        "specversion": "1.0",
        "id": event_id,
        "source": HOSTILE,
        "type": HOSTILE,
        "subject": HOSTILE,
        "correlationid": HOSTILE,
        "causationid": HOSTILE,
        "traceparent": HOSTILE,
        "data": {HOSTILE: [HOSTILE, 12345678901234567890123, 1.10]},
    }
    async with consuming(resources, refuse), filing_dead_letters(resources):
        await publish_raw(
            broker,
            orjson.dumps({**body, "data": 0}).replace(b'"data":0', _raw_data()),
            content_type="application/cloudevents+json",
            message_id=event_id[:200],
            headers={"x-hostile": HOSTILE, f"h{HOSTILE}"[:100]: "1"},
        )
        await indexed(engine, event_id)
        await find_outcome(engine, event_id, lambda one: one.state == "dead")
    for view in ("json", "properties", "bytes"):
        status, page = await inside.get(path_of(event_id, view=view))
        assert status == 200, page
        assert "<script>alert" not in page
        page = COPIED.sub("", page)  # what is copied is the id as it is
        assert "\x1b" not in page
        assert "\u202e" not in page
        assert SHOWN in page
        assert "Dead letter" in page
        assert "Does not fit" in page
    _, page = await inside.get(path_of(event_id))
    assert "12345678901234567890123" in page
    assert ">1.10<" in page


def _raw_data() -> bytes:
    """Write data whose numbers a parser would change."""
    return b'"data":{"n":12345678901234567890123,"m":1.10}'


@pytest.mark.usefixtures("index")
async def test_a_body_that_is_no_json_is_shown_as_bytes(
    inside: Visit, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    name = uuid4().hex
    await publish_raw(broker, b"\xff\xfe\x00<script>", message_id=name)
    await indexed(engine, name)
    status, page = await inside.get(path_of(name))
    assert status == 200, page
    assert "ff fe 00 3c" in page
    assert "It is no JSON object" in page
    assert "Unreadable event" in page or "campaign.metrics_reported" in page


@pytest.mark.parametrize("event_id", ["absent", HOSTILE, "a\0b", "x" * 3000, "%2e", "ü\ud800"])
async def test_an_event_that_is_not_known_says_what_was_searched(
    inside: Visit, event_id: str
) -> None:
    name = quote(event_id.encode(errors="surrogatepass"), safe="")
    status, page = await inside.get(f"/events/{name}?source=%00urn")
    assert status == 404, page
    assert "Searched: event log, inbox" in page
    assert "<script>alert" not in page


@pytest.mark.usefixtures("index")
async def test_an_id_of_two_sources_leads_to_each(
    inside: Visit, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    name = uuid4().hex
    await publish(broker, report(1, id=name, source="urn:a"), report(2, id=name, source="urn:b"))
    await indexed(engine, name, 2)
    status, page = await inside.get(path_of(name))
    assert status == 200
    assert "2 events have this id" in page
    assert f"/events/{name}?source=urn%3Ab" in page
    status, page = await inside.get(path_of(name, source="urn:b"))
    assert "is in metrics.record, or in the hands of a worker" in page
    assert QUEUE in page
