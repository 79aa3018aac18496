"""Whatever the broker accepts takes effect once or is a dead letter, and stops nobody.

Messages from the whole grammar of AMQP, written as raw frames by a publisher with the least
rights, go through the broker, the metrics and campaigns workers, the retry ladder, the
dead-letter queues and the relay's filing. An oracle of the tests' own says beforehand what has
to become of each. ``CHAOS_SEED=n RAW_CASES=17,18`` repeats single ones; ``RAW_COUNT=20000``
makes the long run shorter.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology
from infra.amqp.permissions import UPSTREAM_USER
from infra.commands import dead_letters
from infra.commands.dead_letters import Selection
from infra.messaging.dead_letter_content import Changes
from infra.messaging.replay import ReplayOptions
from infra.settings import Settings
from tests.chaos.report import SEED
from tests.handlers.samples import put, running
from tests.infra.ledger import depth
from tests.infra.parties import register
from tests.processes import Process
from tests.processes import running as running_process
from tests.raw_amqp import bodies
from tests.raw_amqp.books import Books, Copy, Found, count_ends, look
from tests.raw_amqp.cases import Case, case_of
from tests.raw_amqp.oracle import EFFECT, METRICS
from tests.services import environment, url_as

WORKERS = ("workers.metrics", "workers.campaigns", "workers.relay")
ROUND = 2000  # cases; a longer run is made of rounds
MAX_BODY_BYTES = 1024 * 1024
POLL_SECONDS = 0.3  # a look at all queues costs the broker something
SLOWEST_SECONDS = topology.RETRY_TIERS["5m"] + 100
BACKLOG = 4000  # messages that may wait when a round begins
TIERS = tuple(map(topology.retry_exchange, topology.RETRY_TIERS))
READ = ("metrics.record", "campaigns.apply", "campaigns.record")
EMPTY = (
    *READ,
    *map(topology.dead_queue, topology.WORK_QUEUE_NAMES),
    *TIERS,
    topology.UNROUTED,
)
MANY = int(os.environ.get("RAW_COUNT", "200000"))
ONLY = [int(text) for text in os.environ.get("RAW_CASES", "").split(",") if text]


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(2000, marks=pytest.mark.timeout(240)),
        pytest.param(MANY, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
async def test_whatever_the_broker_accepts_takes_effect_or_is_a_dead_letter(
    settings: Settings,
    engine: AsyncEngine,
    broker: AbstractConnection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    count: int,
) -> None:
    with capsys.disabled():
        print(f"\nCHAOS_SEED={SEED}: {count} cases of raw frames")  # noqa: T201 - to repeat it
    await register(engine, bodies.SOURCE)
    await put(engine, *(_campaign(number) for number in range(bodies.CAMPAIGNS)))
    books = Books(url_as(UPSTREAM_USER, settings.rabbitmq_url))
    late: set[int] = set()
    async with _workers(settings) as workers:
        for numbers in _rounds(count):
            cases = [_case(settings, number) for number in numbers]
            await _publish_round(books, cases, late, engine, broker, workers)
        await _until(workers, lambda: _are_ended(engine, len(books.owed)), 60 + count / 300)
        await _until_empty(workers, broker)
        await _until(workers, lambda: _is_nothing_missing(engine, books, late))
        found = await look(engine, late)
        wrong = books.compare(found)
        assert not wrong, _first_of(wrong)
        for name, value in environment(settings).items():
            monkeypatch.setenv(name, value)
        sample = _sample(found)
        for copy, letter in sample.items():
            body = tmp_path / str(copy[1])
            body.write_bytes(bodies.as_json(bodies.event(copy[1])))
            await _mend(letter, copy[0], body, capsys)
        ended = found.total + len(sample)
        await _until(workers, lambda: _are_ended(engine, ended))
        await _until_empty(workers, broker)
        _check_mended(sample, await look(engine, late), settings)
        for worker in workers:
            assert "consumer stopped" not in worker.output
    if not ONLY:
        _check_mixture(books, found, late)


def _rounds(count: int) -> Sequence[Sequence[int]]:
    if ONLY:
        return [ONLY]
    return [range(start, min(start + ROUND, count)) for start in range(0, count, ROUND)]


def _case(settings: Settings, number: int) -> Case:
    return case_of(SEED, number, UPSTREAM_USER.encode(), settings.max_event_bytes)


async def _publish_round(
    books: Books,
    cases: Sequence[Case],
    late: set[int],
    engine: AsyncEngine,
    broker: AbstractConnection,
    workers: Sequence[Process],
) -> None:
    """Publish, see that what names a campaign too early waits, and let the campaign be there."""
    await _until(workers, lambda: _is_short(broker), 300)
    await books.publish(cases)
    early = {case.number for case in cases if b"late-" in case.publish.body}
    late |= early
    waits = [n for n in early if books.owed.get((METRICS, n)) == EFFECT]
    if waits:
        try:
            await _until(workers, lambda: _is_waiting(broker), 300)
        except TimeoutError:
            left = {queue: await depth(broker, queue) for queue in EMPTY}
            told = "\n".join(worker.output[-2000:] for worker in workers)
            pytest.fail(f"CHAOS_SEED={SEED}: {waits} do not wait; in queues: {left}\n{told}")
    await put(engine, *(_campaign(number, late=True) for number in sorted(early)))


async def _until(
    workers: Sequence[Process], condition: Callable[[], Awaitable[bool]], seconds: float = 60
) -> None:
    """Wait for a condition while every worker lives."""

    async with asyncio.timeout(seconds):
        while not await condition():
            for worker in workers:
                assert worker.process.returncode is None, worker.output[-3000:]
            await asyncio.sleep(POLL_SECONDS)


async def _until_empty(workers: Sequence[Process], broker: AbstractConnection) -> None:
    """Wait until nothing is left in any queue, in the slowest tier of the ladder neither."""
    try:
        await _until(workers, lambda: _are_empty(broker), SLOWEST_SECONDS)
    except TimeoutError:
        left = {queue: await depth(broker, queue) for queue in EMPTY}
        pytest.fail(f"CHAOS_SEED={SEED}: left in queues: {left}")


def _campaign(number: int, *, late: bool = False) -> Any:
    return running(
        id=bodies.campaign_id(number, late=late),
        platform_campaign_id=bodies.platform_id(number, late=late),
    )


@asynccontextmanager
async def _workers(settings: Settings) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as held:
        yield [await held.enter_async_context(running_process(name, settings)) for name in WORKERS]


def _sample(found: Found) -> dict[Copy, dict[str, Any]]:
    """Choose one letter in a hundred."""
    copies = sorted(found.letters)
    chosen = Random(SEED).sample(copies, max(1, len(copies) // 100)) if copies else []
    return {copy: found.letters[copy][0] for copy in chosen}


async def _mend(
    letter: dict[str, Any], queue: str, body: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Show a letter, edit it to a valid report and replay it, at the command line."""
    capsys.readouterr()
    selection = Selection((letter["id"],))
    assert await dead_letters.run(lambda s: dead_letters.show(s, selection), as_json=True) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["queue"], shown["id"]) == (queue, letter["id"])
    changes = Changes(body=dead_letters.read_body_from(str(body), MAX_BODY_BYTES))
    for command in (
        lambda session: dead_letters.edit(session, selection, changes),
        lambda session: dead_letters.replay_selected(session, selection, ReplayOptions()),
    ):
        status = await dead_letters.run(command, as_json=False, wake_relay=True)
        assert status == 0, capsys.readouterr().err


def _check_mended(sample: dict[Copy, dict[str, Any]], found: Found, settings: Settings) -> None:
    """See that each replay has come to one end: an effect, where the edit has mended it."""
    for copy, letter in sample.items():
        again = [one for one in found.letters[copy] if one["id"] != letter["id"]]
        old = [one for one in found.letters[copy] if one["id"] == letter["id"]]
        assert [one["state"] for one in old] == ["replayed"]
        assert found.effects[copy] + len(again) == 1, (copy, again)
        if _is_mendable(_case(settings, copy[1]), copy):
            assert found.effects[copy] == 1, (copy, again)


def _is_mendable(case: Case, copy: Copy) -> bool:
    """Tell whether a valid report is all that it lacks."""
    properties = case.publish.properties
    return (
        copy[0] == METRICS
        and case.publish.key in (f"{bodies.REPORT}.claude".encode(), bodies.REPORT.encode())
        and properties.user_id is not None
        and not any(
            name.startswith((b"cloudEvents", b"ce-")) for name, _ in properties.headers or ()
        )
    )


def _check_mixture(books: Books, found: Found, late: set[int]) -> None:
    """See that the run had something of everything in it."""
    ends = Counter(queue for queue, _ in found.effects) + Counter(q for q, _ in found.letters)
    assert len(books.owed) <= ends.total() <= len(books.owed) + len(books.unknown)
    assert len(found.effects) > 0.3 * len(books.owed), "too little that is right"
    assert len(found.letters) > 0.3 * len(books.owed), "too little that is wrong"
    assert len(books.refused) >= 2, books.refused
    assert late


async def _are_ended(engine: AsyncEngine, count: int) -> bool:
    return await count_ends(engine) >= count


async def _is_nothing_missing(engine: AsyncEngine, books: Books, late: set[int]) -> bool:
    return not books.missing(await look(engine, late))


async def _are_empty(broker: AbstractConnection) -> bool:
    return not any([await depth(broker, queue) for queue in EMPTY])


async def _is_short(broker: AbstractConnection) -> bool:
    return sum([await depth(broker, queue) for queue in READ]) < BACKLOG


async def _is_waiting(broker: AbstractConnection) -> bool:
    return sum([await depth(broker, queue) for queue in TIERS]) > 0


def _first_of(wrong: Sequence[str]) -> str:
    return f"CHAOS_SEED={SEED}: {len(wrong)} wrong\n" + "\n".join(
        line[:2000] for line in wrong[:20]
    )
