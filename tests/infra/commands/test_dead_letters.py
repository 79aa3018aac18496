"""Dead letters from the queue to the file, and back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import encode
from handlers.dead_letters import file_dead_letters
from infra.amqp.connection import BrokerConnection
from infra.messaging.consumer import Consumer
from infra.messaging.dead_letter import make_dead_letter_decoder
from infra.messaging.outbox_relay import relay_once
from infra.messaging.subscription import Subscription
from infra.resources import Resources
from infra.settings import Settings
from tests.fork_server import run_module
from tests.infra.ledger import (
    QUEUE,
    consuming,
    count,
    create,
    depth,
    publish,
    report,
    until,
    written,
)
from tests.infra.messaging.test_consumer import note
from tests.services import environment

DEAD_QUEUE = f"{QUEUE}.dead"


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


@asynccontextmanager
async def filing_dead_letters(resources: Resources) -> AsyncIterator[None]:
    subscription = Subscription(
        DEAD_QUEUE, (), file_dead_letters, decoder=make_dead_letter_decoder(QUEUE)
    )
    link = BrokerConnection(resources.settings, "test:filing")
    stop = asyncio.Event()
    task = asyncio.create_task(Consumer(subscription, resources, link, asyncio.Lock()).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task
        await link.close()


async def run_dead_letters(
    settings: Settings, *arguments: str, given: bytes = b""
) -> tuple[int, list[Any]]:
    """Run the command with --json; gives the exit status and the lines."""
    words = ("dead-letters", *arguments, "--json")
    done = await asyncio.to_thread(
        run_module, "infra.commands", *words, env=environment(settings), given=given
    )
    lines = [orjson.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, lines or [done.stderr.strip()]


def wrong(number: int, **data: Any) -> bytes:
    """Write an event whose data is not valid."""
    body = orjson.loads(encode(report(number)))
    body["data"] |= data
    return orjson.dumps(body)


async def test_an_edited_and_replayed_dead_letter_takes_effect_once(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    settings = resources.settings
    await publish(broker, report(1), wrong(2, clicks=-5), report(3))
    async with consuming(resources, note), filing_dead_letters(resources):
        await until(lambda: _filed(engine, 1))
        status, [letter] = await run_dead_letters(settings, "list")
        assert status == 0
        assert letter["queue"] == QUEUE
        assert letter["type"] == "campaign.metrics_reported.v1"
        assert letter["source"] == "urn:test"
        assert "data.clicks: Input should be greater than or equal to 0" in letter["reason"]
        assert letter["error_class"] == "INVALID_EVENT"
        assert letter["attempts"] == 1

        identity = letter["id"][:8]
        status, [shown] = await run_dead_letters(settings, "show", identity)
        assert orjson.loads(shown["body"])["data"]["clicks"] == -5

        status, [edited] = await run_dead_letters(
            settings, "edit", identity, "--set", "data.clicks=5"
        )
        assert (status, edited["done"]) == (0, "edited")

        for _ in range(2):
            status, lines = await run_dead_letters(settings, "replay", identity)
            assert await relay_once(resources) in (0, 1)
        assert (status, lines) == (1, [f"{letter['id']} is replayed"])
        await until(lambda: _has(engine, 3))
    assert await written(engine) == ["e-1", "e-2", "e-3"]
    assert await run_dead_letters(settings, "list") == (0, [""])
    assert await depth(broker, DEAD_QUEUE) == 0


async def test_an_edit_that_is_still_invalid_says_so_and_its_replay_fails_again(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    settings = resources.settings
    await publish(broker, wrong(1, clicks=-5))
    async with consuming(resources, note), filing_dead_letters(resources):
        await until(lambda: _filed(engine, 1))
        [letter] = (await run_dead_letters(settings, "list"))[1]
        _, [edited] = await run_dead_letters(
            settings, "edit", letter["id"], "--body", "-", given=b"{}"
        )
        assert edited["done"].startswith("edited, but still wrong: data: Field required")
        await run_dead_letters(settings, "replay", letter["id"])
        await relay_once(resources)
        await until(lambda: _filed(engine, 2))
    _, letters = await run_dead_letters(settings, "list", "--state", "all")
    assert sorted(letter["state"] for letter in letters) == ["open", "replayed"]


async def test_the_same_failure_is_filed_once_and_a_discarded_message_that_fails_again_is_open(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    settings = resources.settings
    body = wrong(1, clicks=-5)
    await publish(broker, body, body)
    async with consuming(resources, note), filing_dead_letters(resources):
        await until(lambda: _filed(engine, 1))
        await until(lambda: _depths_are_0(broker))
        [letter] = (await run_dead_letters(settings, "list"))[1]
        assert (await run_dead_letters(settings, "discard", letter["id"]))[0] == 0
        assert await run_dead_letters(settings, "list") == (0, [""])
        await publish(broker, body)
        await until(lambda: _is_open(engine))
    assert await count(engine, "select count(*) from dead_letters") == 1


async def test_any_bytes_and_headers_of_a_dead_letter_can_be_filed_and_shown(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    bodies = (b"", b"\x00\xff\x00", b"[" * 2000, b'{"id": "\\u0000", "type": 5}')
    await publish(broker, *bodies)
    async with consuming(resources, note), filing_dead_letters(resources):
        await until(lambda: _filed(engine, len(bodies)))
    status, letters = await run_dead_letters(resources.settings, "list")
    assert (status, len(letters)) == (0, len(bodies))
    for letter in letters:
        assert (await run_dead_letters(resources.settings, "show", letter["id"]))[0] == 0


async def test_a_reused_id_can_be_replayed_under_a_new_one(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await publish(broker, report(1))
    async with consuming(resources, note), filing_dead_letters(resources):
        await until(lambda: _has(engine, 1))
        await publish(broker, report(2, id="e-1"))
        await until(lambda: _filed(engine, 1))
        [letter] = (await run_dead_letters(resources.settings, "list", "--queue", QUEUE))[1]
        assert letter["error_class"] == "ID_REUSED"
        await run_dead_letters(resources.settings, "replay", letter["id"], "--new-id")
        await relay_once(resources)
        await until(lambda: _has(engine, 2))


async def test_the_command_line_answers_in_exit_statuses(settings: Settings) -> None:
    assert (await run_dead_letters(settings, "show", "abc"))[0] == 1
    assert (await run_dead_letters(settings, "replay", "--queue", QUEUE))[0] == 1
    assert (await run_dead_letters(settings, "replay"))[0] == 2
    assert (await run_dead_letters(settings, "burn"))[0] == 2


async def _filed(engine: AsyncEngine, letters: int) -> bool:
    return await count(engine, "select count(*) from dead_letters") >= letters


async def _is_open(engine: AsyncEngine) -> bool:
    return await count(engine, "select count(*) from dead_letters where state = 'open'") == 1


async def _has(engine: AsyncEngine, lines: int) -> bool:
    return len(await written(engine)) >= lines


async def _depths_are_0(broker: AbstractConnection) -> bool:
    return await depth(broker, QUEUE) == 0 and await depth(broker, DEAD_QUEUE) == 0
