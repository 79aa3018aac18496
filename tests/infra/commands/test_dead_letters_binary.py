"""Dead letters in binary mode, hostile names, ids and many large bodies, at the command line."""

import subprocess
import sys
from typing import Any

import orjson
import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology
from infra.amqp.permissions import WORKERS_USER
from infra.messaging.outbox_relay import relay_once
from infra.resources import Resources
from infra.settings import Settings
from tests.fork_server import run_module
from tests.infra.commands.test_dead_letters import filing_dead_letters, run_dead_letters
from tests.infra.ledger import QUEUE, consuming, count, create, publish, report, until, written
from tests.infra.messaging.test_consumer import note
from tests.processes import ROOT
from tests.services import environment

KEY = "campaign.metrics_reported.v1.claude"
HOSTILE = "\x1b[2J\n00000000  open      \u202e\u2028fake\x7f\x85\u200b"
LETTERS = 150
RSS_LIMIT = 150_000  # KiB; with the bodies of all letters it would be twice as much
MANY = text("""
    insert into dead_letters (id, queue, routing_key, body, properties, reason, error_class, stage,
        worker, attempts, first_failed_at, last_failed_at, fingerprint)
    select gen_random_uuid(), :queue, 'k', convert_to(repeat('x', :size), 'UTF8'), :properties,
        'r', 'c', 'decode', 'w', 1, now(), now(), 'f'
    from generate_series(1, :count)
""")
PROPERTIES = '{"content_type": "", "type": "", "correlation_id": "", "headers": {}}'
FILLING = {
    "queue": QUEUE,
    "properties": PROPERTIES,
    "count": LETTERS,
}


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


async def publish_binary(
    broker: AbstractConnection, event_id: str, body: bytes, prefix: str = "cloudEvents_"
) -> None:
    """Publish as the AMQP binding of CloudEvents has it: attributes in headers, data as body."""
    attributes = {
        "specversion": "1.0",
        "id": event_id,
        "source": "urn:test",
        "type": "campaign.metrics_reported.v1",
        "time": "2026-11-22T08:00:00Z",
    }
    headers: Any = {prefix + name: value for name, value in attributes.items()}
    message = Message(body, headers=headers, content_type="application/json", user_id=WORKERS_USER)
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE, ensure=False)
        await exchange.publish(message, KEY, timeout=10)


def data_of(number: int) -> bytes:
    return orjson.dumps(report(number).data.model_dump(mode="json", exclude_none=True))


# A process that is measured begins with the memory of the one that forked it, so this small
# one stands between, and says on its last line what the command has taken (KiB).
MEASURED = (
    "import resource, subprocess, sys;"
    "status = subprocess.call(sys.argv[1:], stderr=subprocess.STDOUT);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss);"
    "sys.exit(status)"
)


def command(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Run the command; gives the exit status and all output."""
    words = ("dead-letters", *arguments)
    done = run_module("infra.commands", *words, env=environment(settings))
    return done.returncode, done.stdout + done.stderr


def measure(settings: Settings, *arguments: str, **more: str) -> tuple[int, bytes, int]:
    """Run the command from a start; gives the exit status, all output, and peak memory in KiB."""
    done = subprocess.run(  # noqa: S603 - our own program
        [
            sys.executable,
            "-c",
            MEASURED,
            sys.executable,
            "-m",
            "infra.commands",
            "dead-letters",
            *arguments,
        ],
        cwd=ROOT,
        env={**environment(settings), **more},
        capture_output=True,
        check=False,
    )
    written, _, memory = done.stdout.rstrip(b"\n").rpartition(b"\n")
    return done.returncode, written + b"\n" if written else b"", int(memory)


async def filed(engine: AsyncEngine, letters: int) -> bool:
    return await count(engine, "select count(*) from dead_letters") >= letters


@pytest.mark.parametrize("prefix", ["cloudEvents_", "ce-"])
async def test_dead_letters_in_binary_mode_are_edited_and_replayed_and_what_is_no_event_is_named(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine, prefix: str
) -> None:
    settings = resources.settings

    async def has(lines: int) -> bool:
        await relay_once(resources)
        return len(await written(engine)) >= lines

    async with consuming(resources, note), filing_dead_letters(resources):
        await publish_binary(broker, "b-1", data_of(1))
        await until(lambda: has(1))
        await publish_binary(broker, "b-1", data_of(2), prefix="cloudEvents:")
        await publish_binary(broker, "b-3", b"bad", prefix)
        await publish(broker, b"[1]")
        await until(lambda: filed(engine, 3))
        _, letters = await run_dead_letters(settings, "list")
        ids = {letter["error_class"]: letter["id"] for letter in letters if letter["source"]}

        broken = ids["INVALID_EVENT"]
        status, lines = await run_dead_letters(settings, "edit", broken, "--set", "data.clicks=3")
        assert (status, "no JSON object" in lines[0]) == (1, True)
        status, [edited] = await run_dead_letters(
            settings, "edit", broken, "--body", "-", "--header", f"{prefix}id=", given=data_of(3)
        )
        assert (status, edited["done"]) == (0, "edited, but still wrong: id: Field required")
        changes = ("--set", "id=b-4", "--set", "data.impressions=44")
        how = ("--property", "content_type=application/json; charset=utf-8")
        status, [edited] = await run_dead_letters(settings, "edit", broken, *changes, *how)
        assert (status, edited["done"]) == (0, "edited")
        assert (await run_dead_letters(settings, "replay", broken))[0] == 0
        await until(lambda: has(2))
        assert await written(engine) == ["b-1", "b-4"]

        status, lines = await run_dead_letters(settings, "replay", "--queue", QUEUE, "--new-id")
        assert status == 1
        assert [line["id"] for line in lines if "done" in line] == [ids["ID_REUSED"]]
        assert ["no JSON object" in line["refused"] for line in lines if "refused" in line] == [
            True
        ]
        await until(lambda: has(3))
    assert await count(engine, "select sum(impressions) from ledger") == 1 + 44 + 2
    assert await count(engine, "select count(*) from dead_letters where state = 'open'") == 1


async def test_what_a_publisher_named_its_fields_fakes_nothing_on_a_terminal(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    body = orjson.loads(report(1).model_dump_json())
    body["data"][HOSTILE] = 1
    async with consuming(resources, note), filing_dead_letters(resources):
        await publish(broker, orjson.dumps(body), b"\x1b[2J\xc2\x85\xe2\x80\xae")
        await until(lambda: filed(engine, 2))
    settings = resources.settings
    _, listed = command(settings, "list")
    assert len(listed.splitlines()) == 1 + 2 + 1
    _, letters = await run_dead_letters(settings, "list")
    shown = [command(settings, "show", letter["id"])[1] for letter in letters]
    exact = [command(settings, "show", letter["id"], "--json")[1] for letter in letters]
    for output in (listed, *shown, *exact):
        assert all(line.isprintable() for line in output.split("\n"))
    assert any("\\x1b[2J\\x0a00000000" in letter["reason"] for letter in letters)
    bodies = {orjson.loads(line)["body"] for line in exact}
    assert bodies == {orjson.dumps(body).decode(), "\x1b[2J\x85\u202e"}


async def test_an_id_is_exact_or_a_unique_beginning_and_must_be_of_the_queue(
    settings: Settings, engine: AsyncEngine
) -> None:
    async with engine.begin() as tx:
        await tx.execute(MANY, {**FILLING, "size": 0})
        found = await tx.execute(text("select id from dead_letters limit 1"))
        letter = str(found.scalar_one())
    for pattern in ("%", letter[:-1] + "_"):
        status, output = command(settings, "show", pattern)
        assert (status, "is no id" in output) == (1, True)
    status, output = command(settings, "discard", letter, "--queue", "campaigns.apply")
    assert status == 1
    assert f"has the queue {QUEUE}, not campaigns.apply" in output
    status, output = command(settings, "discard", letter[0])
    assert (status, "several" in output) == (1, True)
    assert await count(engine, "select count(*) from dead_letters where state = 'open'") == LETTERS
    assert command(settings, "discard", letter[:18].upper(), "--queue", QUEUE)[0] == 0
    assert (
        await count(engine, "select count(*) from dead_letters where state = 'open'") == LETTERS - 1
    )


async def test_many_large_dead_letters_are_listed_and_replayed_in_little_memory(
    settings: Settings, engine: AsyncEngine
) -> None:
    for doing in ("list", "replay"):
        async with engine.begin() as tx:
            await tx.execute(text("truncate dead_letters, outbox cascade"))
            await tx.execute(MANY, {**FILLING, "size": 1_000_000})
        more = {"MAX_EVENT_BYTES": "2000000", "MAX_BODY_BYTES": "2000000"}
        status, output, memory = measure(settings, doing, "--queue", QUEUE, **more)
        assert (status, len(output.splitlines()) >= LETTERS) == (0, True)
        assert memory < RSS_LIMIT
        left = LETTERS if doing == "list" else 0
        assert await count(engine, "select count(*) from dead_letters where state = 'open'") == left
