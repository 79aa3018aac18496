"""Faults of Postgres: frozen, restarted, its sessions ended, its table locked, its disk full."""

import asyncio
import signal

import pytest
from sqlalchemy import text

from tests.chaos.nemesis import Nemesis
from tests.chaos.servers import DATABASE
from tests.chaos.world import LIMITS
from tests.infra.ledger import until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(150)]

END = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and usename = current_user
        and pid <> pg_backend_pid()
"""
END_BUSY = f"{END} and (state like 'idle in transaction%' or state = 'active')"
WAITING = """
    select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'
"""
FULL = """
    create function chaos_full() returns trigger language plpgsql as $$
    begin
        perform nextval('chaos_refused');
        raise exception 'could not extend file' using errcode = '53100';
    end $$
"""


async def test_sessions_that_are_ended_in_the_middle_of_a_batch_lose_nothing(
    nemesis: Nemesis,
) -> None:
    world = nemesis.world
    ended = 0

    async def terminate() -> bool:
        async def in_the_middle() -> bool:
            nonlocal ended
            ended += len(await world.rows(END_BUSY))
            return ended >= 5

        await until(in_the_middle)
        # And once all of them, whatever they do.
        return len(await world.rows(END)) > 0

    await nemesis.strike("Postgres pg_terminate_backend in mid-batch", terminate)


async def test_a_database_that_is_restarted_at_once_loses_nothing(nemesis: Nemesis) -> None:
    servers = nemesis.world.servers

    async def restart() -> bool:
        before = await asyncio.to_thread(servers.kill, DATABASE, signal.SIGQUIT)
        return await asyncio.to_thread(servers.start, DATABASE) != before

    await nemesis.strike("Postgres immediate restart", restart)


async def test_a_full_disk_pauses_the_workers_and_kills_no_event(nemesis: Nemesis) -> None:
    world = nemesis.world
    before = len(await world.rows("select 1 from dead_letters"))

    async def fill() -> bool:
        # A sequence counts on when its transaction is rolled back.
        await world.rows("create sequence chaos_refused")
        await world.rows(FULL)
        await world.rows(
            "create trigger chaos_full before insert on chaos_ledger"
            " for each row execute function chaos_full()"
        )
        try:
            await until(lambda: _refused(nemesis, 3))
        finally:
            await world.rows("drop trigger chaos_full on chaos_ledger")
            await world.rows("drop function chaos_full")
        refused = await world.count("select last_value from chaos_refused")
        await world.rows("drop sequence chaos_refused")
        return refused >= 3

    found = await nemesis.strike("Postgres disk full (53100)", fill)
    # Those that are new died of their own number: check() has seen to that.
    assert len(found.dead) >= before


@pytest.mark.long
async def test_a_lock_on_the_table_is_waited_for(nemesis: Nemesis) -> None:
    world = nemesis.world

    async def lock() -> bool:
        async with world.engine.begin() as tx:
            await tx.execute(text("lock table chaos_ledger in access exclusive mode"))
            await until(lambda: _waiting(nemesis))
            # Longer than the workers' own limit, so that 55P03 is really met.
            await asyncio.sleep(LIMITS["statement_timeout"] + nemesis.dice.uniform(1, 3))
            return await _waiting(nemesis)

    await nemesis.strike("Postgres table lock", lock)


@pytest.mark.long
async def test_a_database_that_stands_still_is_waited_for(nemesis: Nemesis) -> None:
    servers = nemesis.world.servers

    async def freeze() -> bool:
        frozen = await asyncio.to_thread(servers.freeze, DATABASE)
        try:
            await asyncio.sleep(LIMITS["statement_timeout"] * 2 + nemesis.dice.uniform(1, 4))
        finally:
            servers.thaw(frozen)
        return len(frozen) > len(nemesis.world.processes)

    await nemesis.strike("Postgres SIGSTOP", freeze)


async def _refused(nemesis: Nemesis, times: int) -> bool:
    return await nemesis.world.count("select last_value from chaos_refused") >= times


async def _waiting(nemesis: Nemesis) -> bool:
    return await nemesis.world.count(WAITING) > 0
