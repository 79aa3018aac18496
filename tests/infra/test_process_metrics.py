"""The metrics of whole processes, as a scraper reads them: code, CPU, pools, tables."""

import platform
import re

import aiohttp
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology
from infra.settings import Settings
from infra.version import find_commit, find_release
from tests.infra.ledger import until
from tests.processes import Process, running

LINE = re.compile(r"^(\w+)(?:\{(.*?)\})? (\S+)$", re.MULTILINE)


async def scrape(process: Process) -> dict[tuple[str, str], float]:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{process.port}/metrics") as answer,
    ):
        written = await answer.text()
    return {(name, labels): float(value) for name, labels, value in LINE.findall(written)}


async def test_a_process_says_which_code_it_runs_and_what_it_costs(settings: Settings) -> None:
    async with running("workers.metrics", settings) as process:
        found = await scrape(process)

    about = (
        f'commit="{find_commit()}",python="{platform.python_version()}",version="{find_release()}"'
    )
    assert found["adrelay_build_info", about] == 1
    assert found["process_cpu_seconds_total", ""] > 0
    assert found["adrelay_db_pool_connections", 'state="idle"'] >= 1
    assert found["adrelay_db_pool_connections", 'state="in_use"'] == 0
    assert found["adrelay_db_pool_wait_seconds_count", ""] >= 1


async def test_the_relay_exports_the_tables_and_counts_what_the_broker_dead_letters(
    settings: Settings, engine: AsyncEngine, broker: AbstractConnection
) -> None:
    async with engine.begin() as tx:
        await tx.execute(text("insert into operations (id, state) values ('op-1', 'refused')"))
    # As the broker does it: the delivery is no dead letter of a worker's own.
    died = Message(b"{}", headers={"x-death": [{"reason": "delivery_limit", "count": 1}]})
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.DEAD_LETTER_EXCHANGE)
        await exchange.publish(died, "metrics.record", timeout=10)

    async with running("workers.relay", settings) as process:

        async def is_counted() -> bool:
            found = await scrape(process)
            labels = 'code="BROKER",queue="metrics.record"'
            filed = found["adrelay_dead_letters_total", labels] == 1
            return filed and found["adrelay_operations_rows", 'state="refused"'] == 1

        await until(is_counted)
        found = await scrape(process)

    assert found["adrelay_operations_rows", 'state="done"'] == 0
    assert ("adrelay_inbox_rows", "") in found
    assert ("adrelay_audit_rows", "") in found
