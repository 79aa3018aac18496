"""The metrics of events, compared with what was sent: every event counts, and none twice."""

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Any

import aio_pika
import orjson
import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.envelope import Event, encode
from infra import metrics
from infra.amqp import topology
from infra.amqp.permissions import INGRESS_USER, UPSTREAM_USER
from infra.errors import Permanent, Snooze, Transient
from infra.messaging.context import Context
from infra.messaging.headers import ACCEPTED
from infra.resources import Resources
from infra.settings import Settings
from tests.infra.ledger import (
    QUEUE,
    consuming,
    count,
    create,
    publish,
    report,
    until,
    write,
)
from tests.infra.parties import METRICS, SOURCE, register
from tests.services import as_user

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
Reports = list[CampaignMetricsReported]


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


async def note(events: Reports, ctx: Context) -> Sequence[Event]:
    await write(ctx.tx, events)
    return ()


class Change:
    """What samples of the queue have grown by since the object was made."""

    def __init__(self) -> None:
        self._before = self._read()

    def __call__(self, name: str, **labels: str) -> float:
        key = name, *sorted(labels.items())
        return self._read().get(key, 0.0) - self._before.get(key, 0.0)

    @staticmethod
    def _read() -> dict[Any, float]:
        return {
            (
                sample.name,
                *sorted((k, v) for k, v in sample.labels.items() if k != "queue"),
            ): sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.labels.get("queue") == QUEUE
        }


async def _has(engine: AsyncEngine, number: int) -> bool:
    return await count(engine, "select count(*) from ledger") >= number


async def publish_as(user: str, settings: Settings, *events: Event, **headers: Any) -> None:
    """Publish as a user of the broker, who may write any header."""
    url = as_user(user, settings).rabbitmq_url.get_secret_value()
    async with await aio_pika.connect(url, timeout=10) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE, ensure=False)
        for event in events:
            message = Message(
                encode(event),
                content_type="application/cloudevents+json",
                user_id=user,
                headers=headers,
            )
            await exchange.publish(message, METRICS, timeout=10)


def micros(seconds_ago: float) -> int:
    return int((time.time() - seconds_ago) * 1e6)


async def test_every_handled_event_is_counted_once_and_each_that_has_a_time_has_an_age(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    timed = [report(n) for n in range(100, 160)]
    untimed = [orjson.loads(encode(report(n))) for n in range(200, 230)]
    for event in untimed:
        del event["time"]
    change = Change()

    await publish(broker, *timed, *timed[:20], *map(orjson.dumps, untimed))
    async with consuming(resources, note, batch=25):
        await until(lambda: _has(engine, 90))
        await until(lambda: _settled(change, 110))

    assert change("adrelay_event_seconds_count") == 90
    assert change("adrelay_event_age_seconds_count") == 60
    assert change("adrelay_events_total", outcome="handled") == 90
    assert change("adrelay_events_total", outcome="duplicate") == 20
    assert change("adrelay_batch_size_sum") == 110
    assert change("adrelay_batch_seconds_count") == change("adrelay_batch_size_count")
    assert 0 < change("adrelay_event_seconds_sum") < 90 * 30


async def _settled(change: Change, number: int) -> bool:
    handled = change("adrelay_events_total", outcome="handled")
    return handled + change("adrelay_events_total", outcome="duplicate") == number


async def test_the_time_of_acceptance_counts_if_an_own_user_of_the_broker_tells_it(
    resources: Resources, settings: Settings, engine: AsyncEngine
) -> None:
    await register(engine, SOURCE)
    change = Change()

    async with consuming(resources, note):
        await publish_as(INGRESS_USER, settings, report(1), **{ACCEPTED: micros(90)})
        await publish_as(
            UPSTREAM_USER, settings, report(2, source=SOURCE), **{ACCEPTED: micros(9000)}
        )
        await publish_as(INGRESS_USER, settings, report(3), **{ACCEPTED: micros(-3600)})
        await publish_as(INGRESS_USER, settings, report(4), **{ACCEPTED: "yesterday"})
        await until(lambda: _has(engine, 4))
        await until(lambda: _settled(change, 4))

    assert change("adrelay_event_seconds_count") == 4
    assert change("adrelay_event_seconds_bucket", le="60.0") == 3
    assert change("adrelay_event_seconds_bucket", le="300.0") == 4
    # What is accepted in the future counts as 0.
    assert 90 < change("adrelay_event_seconds_sum") < 90 + 4 * 15


async def test_a_retry_counts_from_the_first_acceptance_and_by_its_code(
    resources: Resources, settings: Settings, engine: AsyncEngine
) -> None:
    tried: set[str] = set()

    async def handle(events: Reports, ctx: Context) -> Sequence[Event]:
        new = [event for event in events if event.id not in tried]
        tried.update(event.id for event in new)
        if new:
            raise Transient("not yet", events=new, code="UNKNOWN_CAMPAIGN")
        return await note(events, ctx)

    change = Change()
    async with consuming(resources, handle):
        await publish_as(INGRESS_USER, settings, report(1), **{ACCEPTED: micros(90)})
        await publish_as(INGRESS_USER, settings, report(2))
        await until(lambda: _has(engine, 2))
        await until(lambda: _settled(change, 2))

    assert change("adrelay_retries_total", code="UNKNOWN_CAMPAIGN") == 2
    assert change("adrelay_event_seconds_count") == 2
    assert change("adrelay_event_seconds_bucket", le="60.0") == 1
    # Neither of them was faster than its wait in the first tier.
    assert change("adrelay_event_seconds_bucket", le="0.5") == 0


async def test_dead_letters_are_counted_by_their_code_and_no_hostile_text_is_a_label(
    resources: Resources, broker: AbstractConnection
) -> None:
    failures = {
        "e-1": Permanent("x", code="WRONG_PLATFORM"),
        "e-2": Permanent("x", code='evil"} 1\n'),
        "e-3": Snooze("x", 1.0),
    }

    async def handle(events: Reports, _: Context) -> Sequence[Event]:
        for event in events:
            failure = failures[event.id]
            failure.events = (event,)
            raise failure
        return ()

    change = Change()
    await publish(broker, report(1), report(2), report(3), b"{", b'{"evil": "\\n"}')
    async with consuming(resources, handle):
        await until(lambda: _dead(change, 4))
        await until(lambda: _waits(change))

    assert change("adrelay_dead_letters_total", code="WRONG_PLATFORM") == 1
    assert change("adrelay_dead_letters_total", code="OTHER") == 1
    assert change("adrelay_dead_letters_total", code="INVALID_EVENT") == 2
    assert change("adrelay_event_seconds_count") == 0
    codes = {
        sample.labels["code"]
        for family in metrics.DEAD_LETTERED.collect()
        for sample in family.samples
    }
    assert not any("evil" in code for code in codes)


async def _dead(change: Change, number: int) -> bool:
    return change("adrelay_events_total", outcome="dead") == number


async def _waits(change: Change) -> bool:
    return change("adrelay_retries_total", code="SNOOZE") >= 1


async def test_an_event_whose_trace_is_recorded_is_the_exemplar_of_its_bucket(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    change = Change()
    async with consuming(resources, note):
        await publish(
            broker,
            report(1, traceparent=SAMPLED),
            report(2, traceparent=UNSAMPLED),
            report(3, traceparent='00-x"}'),
        )
        await until(lambda: _has(engine, 3))
        await until(lambda: _settled(change, 3))

    exemplars = {
        bucket[2].labels["trace_id"]
        for bucket in metrics.EVENT_SECONDS.labels(QUEUE).buckets()
        if len(bucket) == 3
    }
    assert TRACE in exemplars
    assert all(re.fullmatch("[0-9a-f]{32}", found) for found in exemplars)
    assert UNSAMPLED.split("-")[1] not in exemplars


async def test_what_is_in_hand_is_counted_until_it_is_settled(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    may_go_on = asyncio.Event()

    async def wait(events: Reports, ctx: Context) -> Sequence[Event]:
        await may_go_on.wait()
        return await note(events, ctx)

    change = Change()
    await publish(broker, *(report(n) for n in range(25)))
    async with consuming(resources, wait, batch=10):
        # The first comes alone; of the rest a batch and what is taken ahead are in hand.
        await until(lambda: _is(change("adrelay_messages_in_hand") > 0))
        may_go_on.set()
        await until(lambda: _has(engine, 25))
        await until(lambda: _is(change("adrelay_messages_in_hand") == 0))


async def _is(value: bool) -> bool:  # noqa: FBT001 - a condition to wait for
    return value
