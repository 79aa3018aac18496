"""``adrelay queues``: lists, pauses and resumes, and refuses what does not exist."""

import asyncio
from typing import Any

import orjson
import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from infra.amqp.permissions import OPS_USER
from infra.commands.cli import app
from infra.settings import Settings
from infra.storage.pauses import PauseTarget, find_pause, pause, stop_queue
from tests.handlers.samples import OWNER, put, running
from tests.infra.ledger import publish, report
from tests.services import as_user, environment

QUEUE = "metrics.record"


@pytest.fixture(autouse=True)
def _environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(as_user(OPS_USER, settings)).items():
        monkeypatch.setenv(name, value)


async def adrelay(*arguments: str) -> Result:
    """Run ``adrelay queues`` as a person would, in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["queues", *arguments])


async def lines(*arguments: str) -> list[Any]:
    result = await adrelay(*arguments, "--json")
    return [orjson.loads(line) for line in result.stdout.splitlines()]


async def test_every_queue_is_listed_with_its_state_and_what_waits(
    broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await publish(broker, *(report(n) for n in range(7)))
    async with engine.begin() as tx:
        await stop_queue(tx, "campaigns.apply", reason="KeyError", version="v1", worker="host")
        await pause(tx, PauseTarget("platform", "claude"), reason="asked to", paused_by="olga")
    found = {line["name"]: line for line in await lines("list") if line["kind"] == "queue"}
    assert found[QUEUE]["state"] == "unread"
    assert (found[QUEUE]["ready"], found[QUEUE]["consumers"]) == (7, 0)
    assert found["campaigns.apply"]["state"] == "stopped"
    assert found["campaigns.apply"]["pause"]["code_version"] == "v1"
    assert found["sync.claude"]["state"] == "paused"
    assert found["sync.gemini"]["state"] == "unread"
    shown = (await adrelay("list")).stdout
    assert "olga" in shown
    assert "platform claude: asked to" in shown


async def test_queues_platforms_and_accounts_are_paused_and_all_are_resumed(
    engine: AsyncEngine,
) -> None:
    await put(engine, running())
    account = f"claude:{OWNER}"
    named = [QUEUE, "--platform", "gemini", "--account", account]
    done = await lines("pause", *named, "--reason", "a test")
    assert [line["target"] for line in done] == [QUEUE, "gemini", account]
    assert all(line["paused"] for line in done)
    twice = await adrelay("pause", QUEUE, "--reason", "mine")
    assert twice.exit_code == 1
    assert "a test" in twice.stderr
    resumed = await lines("resume", "--all")
    assert {line["target"] for line in resumed} == {QUEUE, "gemini", account}
    assert (await adrelay("resume", "--all")).stdout == "nothing is paused\n"
    again = await adrelay("resume", QUEUE)
    assert (again.exit_code, again.stderr) == (1, f"{QUEUE} is not paused\n")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["pause", "metrics.recrod", "--reason", "x"], 1, "the queues are auth.register"),
        (["resume", "metrics.recrod"], 1, "the queues are auth.register"),
        (["pause", "auth.session", "--reason", "x"], 1, "503"),
        (["pause", f"{QUEUE}.dead", "--reason", "x"], 1, "dead letters are filed"),
        (["pause", "--platform", "myspace", "--reason", "x"], 1, "claude, chatgpt, gemini"),
        (["pause", "--account", "claude:x\x00", "--reason", "x"], 1, "has no account"),
        (["pause", "--account", "claude", "--reason", "x"], 2, "platform:account id"),
        (["pause", QUEUE], 2, "--reason"),
        (["pause", QUEUE, "--reason", " "], 2, "reason"),
        (["pause", "--reason", "x"], 2, "name queues"),
        (["resume"], 2, "--all"),
        (["resume", QUEUE, "--all"], 2, "--all"),
    ],
)
async def test_what_does_not_exist_or_cannot_be_paused_is_refused(
    engine: AsyncEngine, arguments: list[str], status: int, words: str
) -> None:
    result = await adrelay(*arguments)
    assert result.exit_code == status, result.output
    assert words in result.stderr
    async with engine.connect() as connection:
        assert (await connection.execute(text("select count(*) from pauses"))).scalar_one() == 0


async def test_a_persons_pause_replaces_a_stop_and_no_stop_replaces_it(
    engine: AsyncEngine,
) -> None:
    target = PauseTarget("queue", QUEUE)
    async with engine.begin() as tx:
        await stop_queue(tx, QUEUE, reason="KeyError", version="v1", worker="host")
    assert (await adrelay("pause", QUEUE, "--reason", "mine")).exit_code == 0
    async with engine.begin() as tx:
        await stop_queue(tx, QUEUE, reason="KeyError", version="v2", worker="host")
        held = await find_pause(tx, target)
    assert held is not None
    assert (held.reason, held.code_version) == ("mine", None)


async def test_a_long_reason_is_cut_and_control_characters_are_escaped(
    engine: AsyncEngine,
) -> None:
    async with engine.begin() as tx:
        reason = "a\x1b\x00" + "x" * 10_000
        assert await pause(tx, PauseTarget("queue", QUEUE), reason=reason, paused_by="o\n" * 500)
        held = await find_pause(tx, PauseTarget("queue", QUEUE))
    assert held is not None
    assert held.reason.startswith("a\\x1b\\x00x")
    assert (len(held.reason), len(held.paused_by)) == (500, 100)
    assert held.paused_by.isprintable()
