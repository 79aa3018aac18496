"""Times and other attributes as foreign clients write them, however often the event comes again.

A publisher may leave ``time`` out, and in binary mode may write attributes in native AMQP types
(CloudEvents AMQP binding 1.0.2, section 3.1.3): what a message means must be the same at its
first delivery, after a retry, and after a replay of its dead letter.
"""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsReported
from events.campaigns import CampaignCommand
from events.envelope import Event, encode, now
from handlers.campaigns.handlers import apply_commands
from handlers.metrics import record_metrics
from infra.amqp import topology
from infra.amqp.permissions import WORKERS_USER
from infra.errors import Permanent, Transient
from infra.messaging.content_mode import PREFIXES
from infra.messaging.context import Context
from infra.messaging.outbox_relay import relay_once
from infra.resources import Resources
from tests.handlers.samples import create, delete, metrics, put, running, update
from tests.infra.commands.test_dead_letters import filing_dead_letters, run_dead_letters
from tests.infra.ledger import QUEUE, consuming, count, publish, until
from workers.campaigns import COMMANDS

APPLY = "campaigns.apply"
KEY = "campaign.metrics_reported.v1.claude"
MOMENT = datetime(2026, 11, 22, 8, 0, 7, tzinfo=UTC)
NATIVE: dict[str, Any] = {
    "specversion": "1.0",
    "id": "native-1",
    "source": "urn:test",
    "type": "campaign.metrics_reported.v1",
    "time": MOMENT,
    "sequence": 7,
    "sampled": True,
    "blob": bytearray(b"\xff\x00"),
    "empty": None,
}
READ = (MOMENT, "7", "true", "/wA=")


def written(event: Event) -> tuple[Any, ...]:
    extra = event.model_extra or {}
    assert "empty" not in extra
    return event.time, extra["sequence"], extra["sampled"], extra["blob"]


async def publish_native(broker: AbstractConnection) -> None:
    body = orjson.dumps(metrics(running(), 1).data.model_dump(mode="json"))
    prefixes = itertools.cycle(PREFIXES)
    headers = {
        f"{prefix}{name}": NATIVE[name] for prefix, name in zip(prefixes, NATIVE, strict=False)
    }
    message = Message(body, content_type="application/json", headers=headers, user_id=WORKERS_USER)
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE)
        await exchange.publish(message, KEY, timeout=10)


async def test_native_attributes_read_alike_at_first_after_a_retry_and_after_a_replay(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    seen: list[tuple[Any, ...]] = []

    async def handle(events: list[CampaignMetricsReported], _: Context) -> Sequence[Event]:
        seen.extend(map(written, events))
        if len(seen) == 1:
            raise Transient("once more")
        if len(seen) == 2:
            raise Permanent("for a person")
        return ()

    await publish_native(broker)
    async with consuming(resources, handle), filing_dead_letters(resources):
        await until(lambda: _filed(engine))
        status, lines = await run_dead_letters(resources.settings, "replay", "--queue", QUEUE)
        assert status == 0, lines
        await until(lambda: _relayed(resources, seen, 3))
    assert seen == [READ] * 3


async def test_figures_without_a_time_take_nothing_back_after_a_retry(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    campaign = running()
    old, new = metrics(campaign, 100), metrics(campaign, 200, at=now() - timedelta(minutes=1))
    arrivals: list[Event] = []

    async def handle(events: list[CampaignMetricsReported], ctx: Context) -> Sequence[Event]:
        arrivals.extend(events)
        return await record_metrics(events, ctx)

    await publish(broker, encode(old, with_time=False))
    async with consuming(resources, handle):
        await until(lambda: _is(arrivals))
        await put(engine, campaign)
        await publish(broker, encode(new))
        await until(lambda: _counts(engine, "select count(*) from inbox", 2))
    assert await count(engine, "select impressions from campaign_metrics") == 200


async def test_a_change_of_an_unknown_campaign_without_a_time_is_refused_in_the_end(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    command = update(uuid4(), source="urn:upstream:shop", owner=None, name="Winter")
    await publish(broker, encode(command, with_time=False), key=command.type)
    async with consuming(resources, apply_commands, queue=APPLY, events=COMMANDS):
        refused = "select count(*) from outbox where routing_key = 'campaign.command_rejected.v1'"
        await until(lambda: _counts(engine, refused, 1))


async def test_a_change_with_an_old_time_waits_for_the_creation_that_it_overtook(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    campaign_id = uuid4()
    old = update(campaign_id, name="Winter", time=now() - timedelta(days=1))
    arrivals: list[type[CampaignCommand]] = []

    async def handle(events: list[CampaignCommand], ctx: Context) -> Sequence[Event]:
        arrivals.extend(map(type, events))
        return await apply_commands(events, ctx)

    await publish(broker, encode(old), key=old.type)
    async with consuming(resources, handle, queue=APPLY, events=COMMANDS):
        await until(lambda: _is(arrivals))
        creation = create(campaign_id)
        await publish(broker, encode(creation), key=creation.type)
        named = "select count(*) from campaigns where name = 'Winter'"
        await until(lambda: _counts(engine, named, 1))


async def test_a_deletion_that_was_confirmed_before_the_creation_does_not_end_it(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    campaign_id = uuid4()
    deletion, creation = delete(campaign_id), create(campaign_id)
    arrivals: list[type[CampaignCommand]] = []

    async def handle(events: list[CampaignCommand], ctx: Context) -> Sequence[Event]:
        arrivals.extend(map(type, events))
        return await apply_commands(events, ctx)

    await publish(broker, encode(deletion, with_time=False), key=deletion.type)
    async with consuming(resources, handle, queue=APPLY, events=COMMANDS):
        await until(lambda: _is(arrivals))
        await publish(broker, encode(creation, with_time=False), key=creation.type)
        await until(lambda: _counts(engine, "select count(*) from inbox", 2))
    assert await count(engine, "select count(*) from campaigns where deleted_at is null") == 1


async def _filed(engine: AsyncEngine) -> bool:
    return await count(engine, "select count(*) from dead_letters where state = 'open'") == 1


async def _relayed(resources: Resources, seen: Sequence[Any], wanted: int) -> bool:
    await relay_once(resources)
    return len(seen) >= wanted


async def _counts(engine: AsyncEngine, sql: str, wanted: int) -> bool:
    return await count(engine, sql) == wanted


async def _is(arrivals: Sequence[Any]) -> bool:
    return bool(arrivals)
