"""``adrelay history replay``: what it counts, sends and leaves out; a kill loses nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.campaigns import get_campaign_id
from handlers.campaigns.handlers import apply_commands
from infra.amqp import topology, topology_declaration
from infra.amqp.message import build_message
from infra.amqp.permissions import UPSTREAM_USER
from infra.messaging.outbox_relay import relay_once
from infra.resources import Resources
from infra.settings import Settings
from tests.handlers.processing import handled
from tests.handlers.samples import create, update
from tests.infra.commands.test_history import Following, publish, run, run_json
from tests.infra.ledger import (
    QUEUE,
    consuming,
    count,
    depth,
    headers_of,
    report,
    take,
    until,
    written,
)
from tests.infra.ledger import create as create_ledger
from tests.infra.messaging.test_upstream import note
from tests.infra.parties import METRICS, SOURCE, Party, party, register
from tests.workers.ingress.api.test_dead_letters import insert_dead_letters, make_dead_letter

upstream = party(UPSTREAM_USER)
POSITIONS = "select count(*) from log_positions where reader like 'replay:%'"
SENT = "select count(*) from outbox where exchange = 'adrelay.back'"
REPEAT = ("--handle-again", "--yes", "--allow-repeated-effects")


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine, broker: AbstractConnection) -> None:
    """An empty ledger and an event log without the events of other tests."""
    await create_ledger(engine)
    async with broker.channel() as channel:
        await channel.queue_delete(topology.EVENT_LOG)
    await topology_declaration.declare(broker)


@pytest.fixture
async def consumed(resources: Resources) -> AsyncIterator[None]:
    """A consumer of the queue, and a relay."""
    stop = False

    async def relay() -> None:
        while not stop:
            await relay_once(resources)
            await asyncio.sleep(0.05)

    relaying = asyncio.ensure_future(relay())
    async with consuming(resources, note):
        yield
    stop = True
    await relaying


def replay(settings: Settings, *words: str, queue: str = QUEUE) -> dict[str, Any]:
    """Replay and give the counts; the exit status has to be 0."""
    (counts,) = run_json(settings, "replay", "--queue", queue, *words)
    return counts


async def purge(broker: AbstractConnection) -> None:
    """Take everything off the queue."""
    async with broker.channel() as channel:
        await (await channel.get_queue(QUEUE)).purge()


async def handle(resources: Resources, engine: AsyncEngine, *numbers: int) -> None:
    """Publish reports, and wait until they are handled."""
    await publish(resources, *map(report, numbers))
    ids = {f"e-{number}" for number in numbers}
    async with consuming(resources, note):
        await until(lambda: _has(engine, ids))


async def _has(engine: AsyncEngine, ids: set[str]) -> bool:
    return ids <= set(await written(engine))


async def test_it_is_counted_first_and_then_only_what_is_new_takes_effect(
    settings: Settings, resources: Resources, engine: AsyncEngine, broker: AbstractConnection
) -> None:
    await handle(resources, engine, 1, 2, 3)
    await publish(resources, report(4), report(5))
    await purge(broker)
    counted = replay(settings, "--since", "1h")
    assert (counted["would_send"], counted["new"], counted["duplicates"]) == (5, 2, 3)
    assert counted["first_offset"] < counted["last_offset"]
    assert await depth(broker, QUEUE) == 0
    assert await count(engine, POSITIONS) == 0
    assert replay(settings, "--since", "1h", "--yes")["sent"] == 5
    assert await depth(broker, QUEUE) == 5
    async with consuming(resources, note):
        await until(lambda: _has(engine, {"e-4", "e-5"}))
        await until(lambda: _is_empty(broker))
    assert await written(engine) == [f"e-{n}" for n in range(1, 6)]
    assert await count(engine, POSITIONS) == 0
    audited = "select count(*) from audit where action like 'history.replay%'"
    assert await count(engine, audited) == 2


async def _is_empty(broker: AbstractConnection) -> bool:
    return await depth(broker, QUEUE) == 0


async def test_an_event_keeps_its_id_and_its_publisher(
    settings: Settings, engine: AsyncEngine, broker: AbstractConnection, upstream: Party
) -> None:
    await register(engine, SOURCE)
    await upstream.publish(report(1, source=SOURCE), METRICS, message_id="m-1")
    await purge(broker)
    assert replay(settings, "--source", SOURCE, "--yes")["sent"] == 1
    message = await take(broker, QUEUE)
    assert headers_of(message)["user"] == UPSTREAM_USER
    assert message.message_id == "m-1"
    assert b'"e-1"' in message.body


async def test_what_is_filtered_out_is_not_sent(
    settings: Settings, resources: Resources, broker: AbstractConnection
) -> None:
    await publish(resources, *map(report, range(1, 8)))
    await purge(broker)
    assert replay(settings, "--field", "data.impressions=3", "--yes")["sent"] == 1
    assert b'"e-3"' in (await take(broker, QUEUE)).body
    assert replay(settings, "--until", "1h", "--yes")["sent"] == 0
    status, _, errors = run(settings, "replay", "--queue", "no.queue")
    assert status == 2
    assert "metrics.record" in errors


@pytest.mark.usefixtures("consumed")
async def test_handled_events_are_handled_once_more_when_that_is_asked_for(
    settings: Settings, resources: Resources, engine: AsyncEngine
) -> None:
    await handle(resources, engine, 1, 2)
    await publish(resources, report(1), report(2))  # the log has them twice
    for words in (("--handle-again", "--yes"),):
        status, _, errors = run(settings, "replay", "--queue", QUEUE, *words)
        assert status == 1
        assert "--allow-repeated-effects" in errors
    assert replay(settings, "--handle-again")["would_send"] == 4
    assert replay(settings, *REPEAT)["sent"] >= 2
    await until(lambda: _is_ledger(engine, ["e-1", "e-1", "e-2", "e-2"]))
    await until(lambda: _counts(engine, SENT, 0))
    assert await written(engine) == ["e-1", "e-1", "e-2", "e-2"]


async def _is_ledger(engine: AsyncEngine, expected: list[str]) -> bool:
    return await written(engine) == expected


async def _counts(engine: AsyncEngine, query: str, number: int) -> bool:
    return await count(engine, query) == number


@pytest.mark.usefixtures("consumed")
@pytest.mark.parametrize("again", [(), REPEAT[:1] + REPEAT[2:]], ids=["new", "again"])
async def test_a_kill_loses_nothing_and_the_same_command_goes_on(
    settings: Settings,
    resources: Resources,
    engine: AsyncEngine,
    tmp_path: Path,
    again: tuple[str, ...],
) -> None:
    numbers = range(1, 61)
    await handle(resources, engine, *numbers)
    if not again:
        async with engine.begin() as tx:
            await tx.execute(text("delete from inbox"))
    words = ("replay", "--queue", QUEUE, "--since", "1h", "--rate", "20", "--yes", *again)
    process = Following(settings, tmp_path / "out", *words).process
    moved = "select count(*) from log_positions where reader like 'replay:%' and next_offset > 10"
    await until(lambda: _counts(engine, moved, 1))
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.wait)
    assert await count(engine, POSITIONS) == 1
    status, printed, errors = run(settings, *words[:5], "--rate", "1000", "--yes", *again)
    assert status == 0, errors
    assert errors.startswith("it goes on at offset ")
    assert int(printed.splitlines()[0].split()[-1]) < len(numbers)
    twice = sorted([f"e-{n}" for n in numbers] * 2)
    await until(lambda: _is_ledger(engine, twice))
    assert await count(engine, POSITIONS) == 0


async def test_a_replay_begins_again_when_that_is_asked_for(
    settings: Settings,
    resources: Resources,
    engine: AsyncEngine,
    broker: AbstractConnection,
    tmp_path: Path,
) -> None:
    await publish(resources, *map(report, range(1, 11)))
    await purge(broker)
    words = ("replay", "--queue", QUEUE, "--rate", "4", "--yes")
    process = Following(settings, tmp_path / "out", *words).process
    await until(lambda: _counts(engine, POSITIONS, 1))
    process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(process.wait) == 130
    await purge(broker)
    assert replay(settings, "--yes", "--restart")["sent"] == 10
    assert await depth(broker, QUEUE) == 10


async def test_dead_letters_and_what_cannot_be_read_are_left_out(
    settings: Settings, resources: Resources, engine: AsyncEngine, broker: AbstractConnection
) -> None:
    await publish(resources, report(1), report(2), report(3))
    await resources.publisher.publish(build_message(report(4))._replace(body=b"{"))
    await purge(broker)
    letters = [
        make_dead_letter(n, queue=QUEUE, source="urn:test", event_id=f"e-{n}") for n in (1, 2)
    ]
    await insert_dead_letters(engine, *letters)
    async with engine.begin() as tx:
        await tx.execute(text("update dead_letters set state = 'replayed' where event_id = 'e-2'"))
    counts = replay(settings, "--yes")
    assert (counts["sent"], counts["dead_letters"], counts["unreadable"]) == (2, 1, 1)


async def test_a_command_is_not_replayed_over_a_newer_change_without_force(
    settings: Settings, resources: Resources
) -> None:
    creation = create(uuid4())
    newer = update(get_campaign_id(creation), name="New", time=datetime.now(UTC))
    old = update(get_campaign_id(creation), name="Old", time=newer.time - timedelta(seconds=50))
    await resources.publisher.publish(build_message(old))
    later = datetime.now(UTC) + timedelta(seconds=2)
    await handled(resources, apply_commands, [creation, newer], later)
    words = ("replay", "--queue", "campaigns.apply", "--yes", "--json")
    status, printed, _ = run(settings, *words)
    assert status == 1
    assert '"sent":0' in printed
    assert "newer change" in printed
    assert replay(settings, "--yes", "--force", queue="campaigns.apply")["sent"] == 1


async def test_what_the_inbox_may_have_forgotten_needs_force(
    settings: Settings, broker: AbstractConnection
) -> None:
    message = build_message(report(1, time=datetime.now(UTC) - timedelta(days=40)))
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE)
        await exchange.publish(Message(message.body), message.routing_key)
    counts = replay(settings)
    assert (counts["would_send"], counts["refused"]) == (0, 1)
    assert "older than the inbox remembers" in counts["objections"][0]
    assert replay(settings, "--force")["would_send"] == 1


async def test_without_an_event_log_a_replay_says_so(
    settings: Settings, broker: AbstractConnection
) -> None:
    async with broker.channel() as channel:
        await channel.queue_delete(topology.EVENT_LOG)
    status, _, errors = run(settings, "replay", "--queue", QUEUE, "--yes")
    assert status == 1
    assert errors.startswith("there is no event log")
    await topology_declaration.declare(broker)
