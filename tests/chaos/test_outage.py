"""The broker is down: the ingress goes on. Both are down: it says so, and takes nothing."""

import asyncio
import signal

import pytest

from tests.chaos.history import Answer, Sent, Way
from tests.chaos.nemesis import Nemesis
from tests.chaos.servers import BROKER, DATABASE
from tests.infra.ledger import until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]

DOWN = 60.0  # seconds


@pytest.mark.long
async def test_what_is_accepted_while_the_broker_is_down_leaves_by_the_outbox(
    nemesis: Nemesis,
) -> None:
    world = nemesis.world
    accepted: list[Sent] = []

    async def down() -> bool:
        await asyncio.to_thread(world.servers.kill, BROKER)
        try:
            accepted.extend(await _accepted(nemesis))
        finally:
            await asyncio.to_thread(world.servers.start, BROKER)
        return len(accepted) > 0

    await nemesis.strike("RabbitMQ down, HTTP goes on", down)
    assert await world.applied(*(sent.id for sent in accepted if sent.end.name == "APPLIED"))


@pytest.mark.long
async def test_a_minute_without_a_broker_costs_no_accepted_event(nemesis: Nemesis) -> None:
    world = nemesis.world

    async def down() -> bool:
        await asyncio.to_thread(world.servers.kill, BROKER)
        taken = world.load.statuses[202]
        try:
            await asyncio.sleep(DOWN)  # The load flows on, and is what this is about.
        finally:
            await asyncio.to_thread(world.servers.start, BROKER)
        return world.load.statuses[202] - taken > DOWN

    await nemesis.strike("RabbitMQ down for a minute", down)


@pytest.mark.long
async def test_with_both_down_the_answer_is_503_and_nothing_is_taken(nemesis: Nemesis) -> None:
    world = nemesis.world

    async def both() -> bool:
        # Broker and database must both be gone before the answers are looked at.
        await asyncio.to_thread(world.servers.kill, BROKER)
        await asyncio.to_thread(world.servers.kill, DATABASE, signal.SIGQUIT)
        try:
            refused = world.load.statuses[503]
            sent = await world.load.burst(Way.HTTP)
            refused = world.load.statuses[503] - refused
            answers = {s.answer for s in sent if s.end.name != "INVALID"}
        finally:
            await asyncio.to_thread(world.servers.start, DATABASE)
            await asyncio.to_thread(world.servers.start, BROKER)
        return answers == {Answer.UNKNOWN} and refused > 0

    await nemesis.strike("RabbitMQ and Postgres down", both)


async def _accepted(nemesis: Nemesis) -> list[Sent]:
    """Send until something is accepted by the outbox; gives what was."""
    taken: list[Sent] = []

    async def one_burst() -> bool:
        sent = await nemesis.world.load.burst(Way.HTTP)
        taken.extend(s for s in sent if s.answer is Answer.OK)
        return bool(taken) and await nemesis.world.count("select count(*) from outbox") > 0

    await until(one_burst, 20)
    return taken
