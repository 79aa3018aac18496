"""What each part of an event's way costs: the worker's own functions, one after another.

Batches of 1,000, as in a full queue; microseconds of an event's share, Postgres's answer
included. What is not listed here (the broker's frames, acknowledging, the event loop) is
the rest of the time that the line ``adrelay`` of ``consume`` takes.
"""

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from pamqp.header import ContentHeader
from sqlalchemy.ext.asyncio import AsyncConnection

from events import CampaignMetricsReported
from events.envelope import now
from handlers.metrics import record_metrics
from infra import metrics
from infra.amqp.message import Message, build_message
from infra.amqp.permissions import WORKERS_USER
from infra.amqp.topology import EVENTS_EXCHANGE
from infra.errors import Transient
from infra.messaging import inbox, outbox
from infra.messaging.authorization import PublisherAuthorizer
from infra.messaging.context import Context
from infra.messaging.decoder import DecodedDelivery, decode_delivery, event_key
from infra.messaging.delivery import Delivery
from infra.messaging.digest import content_digest
from infra.messaging.event_latency import EventLatency
from infra.messaging.headers import ACCEPTED
from infra.messaging.retry_policy import decide
from infra.resources import Resources, open_resources
from tests.bench.events import KEY, report
from tests.bench.results import Result
from tests.bench.stage import OURS, Stage
from tests.bench.worker import upsert

BATCH = 1000
BATCHES = 20
TYPES = {CampaignMetricsReported.event_type(): CampaignMetricsReported}

Spent = dict[str, float]


@contextmanager
def spending(spent: Spent, name: str) -> Iterator[None]:
    """Add the time of a block to what a part has taken."""
    began = time.perf_counter()
    yield
    spent[name] += time.perf_counter() - began


@asynccontextmanager
async def committing(
    resources: Resources, spent: Spent, name: str
) -> AsyncIterator[AsyncConnection]:
    """Give a transaction whose beginning and commit are counted as a part of their own."""
    with spending(spent, name):
        connection = await resources.engine.connect()
        await connection.begin()
    yield connection
    with spending(spent, name):
        await connection.commit()
        await connection.close()


async def costs(stage: Stage) -> list[Result]:
    """Measure every part on the same batches."""
    await stage.clear()
    spent: Spent = defaultdict(float)
    async with open_resources(stage.settings, "bench-costs") as resources:
        for _ in range(BATCHES):
            await _batch(resources, spent)
    number = BATCH * BATCHES
    return [
        Result("costs", name, "us/event", seconds / number * 1e6) for name, seconds in spent.items()
    ]


async def _batch(resources: Resources, spent: Spent) -> None:
    received = _read(spent)
    with spending(spent, "trust: who has published it"):
        received, _ = await PublisherAuthorizer(
            OURS, resources.settings, resources.publishers
        ).authorize(received)
    events = [item.event for item in received]
    async with committing(resources, spent, "transaction: begin, commit") as tx:
        with spending(spent, "inbox: claim"):
            await inbox.claim(tx, OURS, received)
        context = Context(
            resources,
            tx,
            now(),
            lambda _event, _answer: None,
            lambda _call: None,
            lambda event: event.time,
        )
        with spending(spent, "handler: upsert as the peers"):
            await upsert(events, context)
        with spending(spent, "handler: record_metrics"):
            caused = await record_metrics(events, context)
        with spending(spent, "outbox: write"):
            await outbox.add(tx, [build_message(event) for event in caused])
    _count(spent, received)


def _read(spent: Spent) -> list[DecodedDelivery]:
    accepted = time.time_ns() // 1000
    messages = [_accept(build_message(report(number)), accepted) for number in range(BATCH)]
    headers = [
        ContentHeader(0, len(message.body), message.properties(WORKERS_USER)).marshal()
        for message in messages
    ]
    with spending(spent, "delivery"):
        deliveries = [
            Delivery(n, OURS, EVENTS_EXCHANGE, KEY, message.body, header, redelivered=False)
            for n, (message, header) in enumerate(zip(messages, headers, strict=True))
        ]
    with spending(spent, "receive: decode, validate, digest"):
        received = [decode_delivery(delivery, TYPES, 2**18) for delivery in deliveries]
    with spending(spent, "  of it: inbox key and digest"):
        for item in received:
            event_key(item.event)
            content_digest(item.event)
    return received


def _accept(message: Message, microseconds: int) -> Message:
    """Add the header that the ingress writes."""
    return message._replace(headers={ACCEPTED: microseconds, **message.headers})


def _count(spent: Spent, received: list[DecodedDelivery]) -> None:
    meters = metrics.Meters("bench.costs")
    latency = EventLatency(meters, {WORKERS_USER})
    with spending(spent, "metrics: of the batch"):
        meters.size.observe(len(received))
        with meters.timing_batch():
            meters.outcomes["handled"].inc(len(received))
    with spending(spent, "metrics: time and age of every event"):
        latency.observe(received)
    seconds = [number / 100 for number in range(len(received))]
    with spending(spent, "  of it: one histogram"):
        meters.event_seconds.observe_all(seconds)
    with spending(spent, "retry policy, if it fails"):
        for _ in received:
            decide(Transient("bench"), 0, 0, 0.5)
