"""The steps from a dead letter to its effect that docs/operator.md shows do what it says."""

import asyncio
import re
import shlex

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.deploy.services.directories import CHECKOUT
from infra.messaging.outbox_relay import relay_once
from infra.resources import Resources
from tests.fork_server import run_module
from tests.infra.commands.test_dead_letters import (
    _filed,
    _has,
    filing_dead_letters,
    run_dead_letters,
    wrong,
)
from tests.infra.ledger import consuming, create, publish, report, until, written
from tests.infra.messaging.test_consumer import note
from tests.services import environment

PAGE = (CHECKOUT / "docs" / "operator.md").read_text()
(SECTION,) = re.findall(
    r"^### A dead letter, step by step\n(.*?)^The same over HTTP", PAGE, re.MULTILINE | re.DOTALL
)
LINES = re.findall(r"^\.venv/bin/adrelay (.*?)\s+# \d+$", SECTION, re.MULTILINE)
SAYS = re.findall(r"^\d+\. (.*?)(?=^\d+\. |\Z)", SECTION, re.MULTILINE | re.DOTALL)
PRINTED = (
    ("data.impressions: Input should be greater than or equal to 0", "event: Invalid JSON: "),
    ("event_id", "source", "x-adrelay-user"),
    ("edited",),
    ("acted_by",),
    ("replayed",),
    ("dead-lettered", "replayed by ", "handled"),
    ("message_id",),
    ("discarded",),
    ("0 dead letters",),
)


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


def test_the_steps_are_few_and_each_is_explained() -> None:
    assert len(LINES) <= 12
    assert len(LINES) == len(SAYS) == len(PRINTED)


async def test_each_step_prints_what_the_page_says(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    async def run(line: str) -> str:
        words = shlex.split(line)
        env = environment(resources.settings)
        done = await asyncio.to_thread(run_module, "infra.commands", *words, env=env)
        assert done.returncode == 0, (line, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout

    await publish(broker, report(1), wrong(17, impressions=-100), b'{"id": oops', report(2))
    async with consuming(resources, note), filing_dead_letters(resources):
        await until(lambda: _filed(engine, 2))
        _, letters = await run_dead_letters(resources.settings, "list")
        letters.sort(key=lambda letter: letter["type"] is None)
        ids = dict(zip(("79de3786", "4b01c7aa"), (x["id"][:8] for x in letters), strict=True))
        for line, says, printed in zip(LINES, SAYS, PRINTED, strict=True):
            shown = await run(re.sub("|".join(ids), lambda found: ids[found[0]], line))
            for words in printed:
                assert words in shown, line
                assert words in says, line
            if " replay " in line:
                await relay_once(resources)
                await until(lambda: _has(engine, 3))
            if " edit " in line:
                assert "still wrong" not in shown
    assert sorted(await written(engine)) == ["e-1", "e-17", "e-2"]


async def test_a_fingerprint_of_the_page_is_no_real_one(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await publish(broker, wrong(1, impressions=-100), wrong(2, clicks=-1), b"{")
    async with filing_dead_letters(resources), consuming(resources, note):
        await until(lambda: _filed(engine, 3))
    _, letters = await run_dead_letters(resources.settings, "list")
    shown = set(re.findall(r"--fingerprint (\w+)", PAGE))
    assert shown
    assert not shown & {letter["fingerprint"] for letter in letters}
    by_field = [letter["fingerprint"] for letter in letters if letter["type"]]
    assert len(set(by_field)) == 1
