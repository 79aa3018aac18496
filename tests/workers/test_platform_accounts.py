"""Connected accounts across the processes: over the real bus, with nothing secret on it."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text

from infra.amqp import topology
from infra.messaging.outbox_relay import relay_outbox
from infra.messaging.subscription import AnySubscription
from infra.settings import Settings
from tests.consent import Stage, open_stage
from tests.fork_server import run_module
from tests.infra.ledger import until
from tests.processes import running
from tests.services import environment
from tests.workers.ingress.conftest import DRAFT, body_of, working
from workers import campaigns, sync


@pytest.fixture
async def stage(settings: Settings) -> AsyncIterator[Stage]:
    async with open_stage(settings, working_too=False, keeping=False) as stage:
        yield stage


@pytest.fixture
async def browser(stage: Stage) -> AsyncIterator[aiohttp.ClientSession]:
    async with stage.browser() as browser:
        yield browser


async def test_from_the_consent_on_campaigns_are_pushed_in_their_owners_name(
    settings: Settings,
) -> None:
    stop = asyncio.Event()
    async with open_stage(settings) as stage, stage.browser() as browser:
        others: list[AnySubscription] = [*campaigns.SUBSCRIPTIONS, *sync.SUBSCRIPTIONS]
        async with working(stage.settings, *others):
            relaying = asyncio.create_task(relay_outbox(stage.resources, stop))
            owner = await stage.register(browser)
            response = await browser.post(
                "/api/v1/campaigns", json=DRAFT, headers=owner.headers | {"Prefer": "wait=10"}
            )
            campaign = (await body_of(response, 201))["data"]

            async def pushed_by(name: str | None) -> bool:
                calls = await stage.sandbox.calls("claude", reference=campaign["id"])
                return name in [call["account"] for call in calls]

            await until(lambda: pushed_by(None))
            await stage.connect(browser, owner)
            await until(lambda: pushed_by("owner-1"))
            stop.set()
            await relaying


async def test_no_code_token_or_verifier_is_on_the_bus_or_in_the_workers_log(
    stage: Stage, browser: aiohttp.ClientSession, broker: AbstractConnection
) -> None:
    loud = stage.settings.model_copy(update={"log_level": "DEBUG", "port": None})
    seen: list[bytes] = []
    async with broker.channel() as channel:
        spy = await channel.declare_queue(exclusive=True)
        for exchange in (topology.EVENTS_EXCHANGE, topology.REQUEST_EXCHANGE):
            await spy.bind(exchange, "#")
        async with running("workers.auth", loud) as worker:
            owner = await stage.register(browser)
            back = await stage.decided(browser, await stage.asked(browser, owner))
            await body_of(await browser.get(back), 200)
            async with stage.resources.engine.begin() as tx:
                await tx.execute(text("update platform_accounts set due_at = now()"))
            consents = stage.sandbox.app.states["claude"].consents

            async def renewed() -> bool:
                return consents.given[0].refreshes == 1

            await until(renewed)
            await worker.stop()
            log = worker.output
        while (copy := await spy.get(fail=False, no_ack=True)) is not None:
            seen.append(copy.body)
    async with stage.resources.engine.connect() as tx:
        rows = await tx.execute(text("select encode(body, 'escape') from outbox"))
        everything = f"{log} {seen!r} {[row[0] for row in rows]!r}"
    assert "platform.connect_requested.v1" in everything
    assert "platform.account_connected.v1" in everything
    secrets = [*consents.accesses, *consents.refreshes, back.query["code"], back.query["state"]]
    assert len(secrets) == 6
    assert [secret for secret in secrets if secret in everything] == []


@pytest.mark.parametrize("module", ["workers.auth", "workers.sync"])
def test_a_worker_without_the_keys_of_the_vault_ends_and_names_them(
    settings: Settings, module: str
) -> None:
    done = run_module(module, env={**environment(settings), "VAULT_KEYS": "too short"})
    assert done.returncode == 1
    assert "VAULT_KEYS: each of them must be 32 bytes" in done.stderr
    assert "too short" not in done.stderr
