"""The spans of batches, retries, dead letters and what events cause, as a collector gets them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import Event
from handlers.dead_letters import file_dead_letters
from infra.amqp import topology
from infra.amqp.message import Message, build_message
from infra.amqp.permissions import WORKERS_USER
from infra.errors import Permanent, Transient
from infra.messaging.batch_trace import BatchTrace
from infra.messaging.context import Context
from infra.messaging.dead_letter import make_dead_letter_decoder
from infra.messaging.delivery import Delivery
from infra.messaging.outbox_relay import relay_once
from infra.messaging.processor import BatchProcessor
from infra.messaging.replay import ReplayOptions, replay
from infra.messaging.subscription import Subscription
from infra.resources import Resources, open_resources
from infra.settings import Settings
from infra.storage.dead_letters import DeadLetterFilter, list_next_dead_letters
from schemas.trace_context import TraceContext
from tests.collector import Collector, collecting
from tests.infra.ledger import (
    EVENTS,
    QUEUE,
    consuming,
    count,
    create,
    publish,
    report,
    take,
    until,
    write,
)
from tests.infra.messaging.test_consumer import recorded

DEAD = topology.dead_queue(QUEUE)
KEY = "campaign.metrics_reported.v1.claude"
PROCESS, SEND = f"process {QUEUE}", "send adrelay.events"
STATE = "rojo=00f067aa0ba902b7"


def context(number: int, flags: str = "01") -> TraceContext:
    """Make the context of a caller's span, one trace for each number."""
    return TraceContext(f"00-{number:032x}-{number:016x}-{flags}", STATE)


def place(trace: TraceContext) -> tuple[str, str]:
    return trace.trace_id, trace.span_id


@asynccontextmanager
async def traced(
    settings: Settings, ratio: float = 0
) -> AsyncIterator[tuple[Resources, Collector]]:
    """Open what a worker holds, with traces; they are all exported when the block has ended."""
    async with collecting() as collector:
        update = {"traces_endpoint": collector.url, "traces_sample_ratio": ratio}
        async with open_resources(settings.model_copy(update=update), "test") as resources:
            yield resources, collector


def event(number: int, trace: TraceContext | None) -> Any:
    return report(number, **(trace.attributes if trace else {}))


async def note(events: Sequence[Any], ctx: Context) -> list[Event]:
    await write(ctx.tx, events)
    return [recorded(event) for event in events]


def is_written(engine: AsyncEngine, lines: int) -> Any:
    async def condition() -> bool:
        return await count(engine, "select count(*) from ledger") == lines

    return condition


async def process(resources: Resources, *events: Any) -> None:
    """Process events as one batch, which a queue does not promise."""
    tracer = resources.tracer
    assert tracer is not None
    messages = [build_message(event) for event in events]
    deliveries = [
        Delivery(
            *(number, QUEUE, m.exchange, m.routing_key, m.body, m.properties(WORKERS_USER)),
            redelivered=False,
        )
        for number, m in enumerate(messages)
    ]
    processor = BatchProcessor(Subscription(QUEUE, EVENTS, note), resources)
    work = processor.decode(deliveries)
    with BatchTrace(tracer, QUEUE) as trace:
        trace.start(work)
        trace.note(await processor.run(work))


async def test_a_batch_links_its_sampled_events_and_each_goes_on_in_its_own_trace(
    settings: Settings, engine: AsyncEngine
) -> None:
    await create(engine)
    traces = (None, context(1), context(2), context(3, "00"))
    async with traced(settings) as (resources, collector):
        await process(resources, *(event(n, trace) for n, trace in enumerate(traces, start=1)))
        headers = await outbox_headers(engine)
        while await relay_once(resources):
            pass
    spans = collector.named(PROCESS)
    (batch,) = [span for span in spans if span.parent == ""]
    assert (batch.kind, batch.attributes["messaging.batch.message_count"]) == ("CONSUMER", 4)
    assert sorted(batch.links) == [place(context(1)), place(context(2))]
    own = sorted((span for span in spans if span is not batch), key=lambda span: span.trace)
    assert [(span.trace, span.parent) for span in own] == [place(context(1)), place(context(2))]
    for span in own:
        assert span.links == ((batch.trace, batch.id),)
        assert (span.kind, span.state) == ("CONSUMER", STATE)
        assert span.attributes["adrelay.outcome"] == "handled"
        (caused,) = collector.children(span)
        assert (caused.kind, caused.name) == ("PRODUCER", SEND)
        assert headers["e-" + str(int(span.trace, 16) + 1)] == {
            "traceparent": f"00-{span.trace}-{span.id}-01",
            "tracestate": STATE,
        }
    assert len(collector.spans) == 1 + 2 + 2
    assert headers["e-4"] == context(3, "00").attributes
    assert headers["e-1"]["traceparent"].endswith("-02")


async def outbox_headers(engine: AsyncEngine) -> dict[str, dict[str, str]]:
    """Give the headers of what events caused, by the id of the event."""
    async with engine.connect() as connection:
        rows = await connection.execute(text("select properties, body from outbox"))
        return {orjson.loads(r.body)["causationid"]: r.properties["headers"] for r in rows}


async def test_the_only_sampled_event_of_a_batch_takes_the_span_into_its_trace(
    settings: Settings, engine: AsyncEngine
) -> None:
    await create(engine)
    async with traced(settings) as (resources, collector):
        await process(resources, event(1, None), event(2, context(1)))
    (span,) = collector.spans
    assert (span.name, (span.trace, span.parent)) == (PROCESS, place(context(1)))
    assert span.links == (place(context(1)),)
    assert span.attributes["messaging.batch.message_count"] == 2
    assert span.attributes["messaging.rabbitmq.destination.routing_key"] == KEY


@pytest.mark.parametrize(("ratio", "spans"), [(0, 0), (1, 1)])
async def test_an_event_without_a_trace_begins_one_by_the_ratio(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine, ratio: float, spans: int
) -> None:
    await create(engine)
    await publish(broker, event(1, None))
    async with traced(settings, ratio) as (resources, collector), consuming(resources, note):
        await until(is_written(engine, 1))
    assert [(span.parent, span.links) for span in collector.spans] == [("", ())] * spans


async def test_retry_dead_letter_filing_and_replay_are_one_trace(
    settings: Settings, engine: AsyncEngine
) -> None:
    await create(engine)
    failures: list[Exception] = [Transient("busy", code="BUSY"), Permanent("gone", code="GONE")]

    async def fail_twice(events: Sequence[Any], ctx: Context) -> list[Event]:
        if failures:
            raise failures.pop(0)
        await write(ctx.tx, events)
        return []

    filing: dict[str, Any] = {
        "queue": DEAD,
        "events": (),
        "decoder": make_dead_letter_decoder(QUEUE),
    }
    async with traced(settings) as (resources, collector):
        sent = build_message(event(1, context(1)))
        await resources.publisher.publish(sent)
        async with (
            consuming(resources, fail_twice),
            consuming(resources, file_dead_letters, **filing),
        ):
            await until(is_filed(engine))
            await replay_all(settings, engine)
            await relay_once(resources)
            await until(is_written(engine, 1))
    (first,) = collector.named(SEND)
    assert (first.trace, first.parent) == place(context(1))
    way = [first]
    while children := [s for s in collector.children(way[-1]) if s.name != f"process {DEAD}"]:
        way += children
    # A quarter of all retries wait a tier longer.
    names = [span.name.replace("retry.5s", "retry.1s") for span in way]
    assert list(zip(names, [s.attributes.get("error.type") for s in way], strict=True)) == [
        (SEND, None),
        (PROCESS, "BUSY"),
        ("send adrelay.retry.1s", None),
        (PROCESS, "GONE"),
        ("send adrelay.dead", None),
        ("send adrelay.back", None),
        (PROCESS, None),
    ]
    (filed,) = collector.named(f"process {DEAD}")
    assert filed.parent == way[4].id
    assert [span.attributes["adrelay.attempt"] for span in way if span.name == PROCESS] == [1, 2, 1]
    assert not collector.orphans([context(1).span_id])


def is_filed(engine: AsyncEngine) -> Any:
    async def condition() -> bool:
        return await count(engine, "select count(*) from dead_letters") == 1

    return condition


async def replay_all(settings: Settings, engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        heads = await list_next_dead_letters(tx, DeadLetterFilter(), limit=10)
        assert not await replay(tx, heads, "test", settings, ReplayOptions())


async def test_a_message_that_cannot_be_decoded_has_a_span_with_the_code_of_its_failure(
    settings: Settings, broker: AbstractConnection
) -> None:
    async with traced(settings) as (resources, collector), consuming(resources, note):
        headers = context(1).attributes
        await resources.publisher.publish(
            Message(topology.EVENTS_EXCHANGE, KEY, b"no event", "m-1", headers=headers)
        )
        dead = await take(broker, DEAD)
    (send,), (process,), (letter,) = map(
        collector.named, ("send adrelay.events", PROCESS, "send adrelay.dead")
    )
    assert [send.parent, process.parent, letter.parent] == [
        context(1).span_id,
        send.id,
        process.id,
    ]
    assert process.attributes["error.type"] == "INVALID_EVENT"
    assert dead.headers["traceparent"] == f"00-{letter.trace}-{letter.id}-01"
    assert dead.headers["tracestate"] == STATE


async def test_messages_of_one_parent_that_are_published_together_have_one_span(
    settings: Settings,
) -> None:
    messages = [build_message(event(number, context(1 + number // 3))) for number in range(6)]
    async with traced(settings) as (resources, collector):
        assert await resources.publisher.publish_all(messages) == [None] * 6
        lost = messages[0]._replace(exchange="no-such-exchange")
        (error,) = await resources.publisher.publish_all([lost])
        assert error is not None
    together = collector.named(SEND)
    assert [span.attributes["messaging.batch.message_count"] for span in together] == [3, 3]
    assert [(span.trace, span.parent) for span in together] == [
        place(context(1)),
        place(context(2)),
    ]
    (failed,) = collector.named("send no-such-exchange")
    assert (failed.failed, failed.attributes["error.type"]) == (True, type(error).__name__)
