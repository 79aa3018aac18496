"""Alerts fire and stop on a live Prometheus, and every query of the dashboards finds something."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from aio_pika import Message
from aio_pika.abc import AbstractChannel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology
from infra.amqp.message import Message as OutboxMessage
from infra.amqp.permissions import OPS_USER
from infra.commands.migrate import connect
from infra.messaging import outbox
from infra.security.hmac_signature import sign_body
from infra.storage.api_keys import generate_api_key, insert_api_key, revoke_api_key
from infra.storage.engine import open_engine
from tests.chaos.monitored import Monitored, open_monitored
from tests.chaos.servers import Servers
from tests.e2e.test_demo import run, urls
from tests.infra.dashboards.expressions import alerting, recorded, selectors_in, shown
from tests.infra.ledger import until
from tests.services import TESTER, as_user, open_settings, url_as

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(900),
    pytest.mark.long,
]

REPORTED = "campaign.metrics_reported.v1"
BINDING = f"{REPORTED}.#"
LATE = 15  # campaigns that wait for a paused queue
FAILED_LOGINS = 15
EIGHT = 8  # alerts at least


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def monitored(servers: Servers) -> AsyncIterator[Monitored]:
    with open_settings(servers.services, "alerts") as settings:
        code, output = await run(settings, "infra.commands", "seed", **urls(settings))
        assert code == 0, output
        async with open_monitored(settings, servers) as monitored:
            yield monitored


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(monitored: Monitored) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(monitored.settings)
    yield engine
    await engine.dispose()


@asynccontextmanager
async def open_channel(monitored: Monitored) -> AsyncIterator[AbstractChannel]:
    url = url_as(TESTER, monitored.settings.rabbitmq_url)
    async with await connect(url) as connection, connection.channel() as channel:
        yield channel


async def command(monitored: Monitored, *words: str) -> None:
    """Run a command of ``adrelay`` as the operators' user of the broker."""
    settings = as_user(OPS_USER, monitored.settings)
    code, output = await run(settings, "infra.commands", *words)
    assert code == 0, output


async def expiring_key(database: AsyncEngine) -> UUID:
    async with database.begin() as tx:
        owner = (await tx.execute(text("select id from users limit 1"))).scalar_one()
        made = await insert_api_key(
            tx,
            generate_api_key(),
            name="expiring",
            owner_id=owner,
            scopes=("events:publish",),
            sources=("urn:example:expiring",),
            expires_at=datetime.now(UTC) + timedelta(days=3),
        )
    assert made is not None
    return made.id


async def play_demo(monitored: Monitored) -> None:
    """Run the demo; a busy machine may take longer than its patience, so it may run again."""
    settings, url = monitored.settings, monitored.system.url
    for _ in range(3):
        code, output = await run(
            settings, "infra.deploy.demo", "--repeat", "5", ADRELAY_URL=url, **urls(settings)
        )
        if code == 0:
            return
    raise AssertionError(output)


async def restart(monitored: Monitored, name: str) -> None:
    process = monitored.system.processes[name]
    await process.start()
    try:
        await process.ready(120)
    except TimeoutError:
        url = f"http://127.0.0.1:{process.port}/readyz"
        async with monitored.system.http.get(url) as answer:
            raise AssertionError(f"{name}: {await answer.text()}\n{process.output}") from None


async def send_webhook(monitored: Monitored, body: bytes, secret: str) -> int:
    url = f"{monitored.system.url}/webhooks/claude"
    headers = {"x-claude-signature": sign_body(secret, body), "content-type": "application/json"}
    async with monitored.system.http.post(url, data=body, headers=headers) as answer:
        return answer.status


async def is_paused(monitored: Monitored, name: str) -> bool:
    url = f"http://127.0.0.1:{monitored.system.processes[name].port}/readyz"
    async with monitored.system.http.get(url) as answer:
        return "paused:" in await answer.text()


async def create_campaigns(monitored: Monitored, count: int) -> None:
    targeting = {"interests": ["tea"], "age_range": [25, 45]}
    body = {"name": "late", "budget": 10, "platform": "claude", "targeting": targeting}
    for _ in range(count):
        status, answer = await monitored.system.call("POST", "/api/v1/campaigns", body)
        assert status == 202, answer


async def fail_logins(monitored: Monitored) -> None:
    login = {"email": "someone@example.com", "password": "correct horse battery staple"}
    calls = (
        monitored.system.call("POST", "/api/v1/auth/login", login) for _ in range(FAILED_LOGINS)
    )
    assert {status for status, _ in await asyncio.gather(*calls)} == {503}


async def keep_busy(monitored: Monitored) -> None:
    """Create campaigns until it is cancelled: a rate needs what happened just now."""
    while True:
        await create_campaigns(monitored, 1)
        await asyncio.sleep(0.3)


async def test_every_query_finds_series_under_traffic(
    monitored: Monitored, database: AsyncEngine
) -> None:
    await expiring_key(database)
    await play_demo(monitored)
    async with open_channel(monitored) as channel:  # a dead letter, for the list of firing alerts
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE)
        await exchange.publish(Message(b"{}"), f"{REPORTED}.claude")
    await monitored.wait_fired("AdrelayDeadLetters")
    asked = [*shown(), *recorded()]
    selectors = {selector for one in alerting() for selector in selectors_in(one.promql)}
    queries = {**{str(one): one.promql for one in asked}, **{one: one for one in selectors}}
    await monitored.system.register()
    traffic = asyncio.create_task(keep_busy(monitored))
    empty, end = queries, time.monotonic() + 60
    while empty and time.monotonic() < end:
        found = {place: await monitored.query(promql) for place, promql in empty.items()}
        empty = {place: queries[place] for place, series in found.items() if not series}
        await asyncio.sleep(1)
    traffic.cancel()
    assert not empty, "\n".join(f"{place}: {promql}" for place, promql in empty.items())


async def test_alerts_fire_and_stop(monitored: Monitored, database: AsyncEngine) -> None:
    system = monitored.system
    await system.register()
    key = await expiring_key(database)
    async with AsyncExitStack() as held:
        channel = await held.enter_async_context(open_channel(monitored))
        events = await channel.get_exchange(topology.EVENTS_EXCHANGE)

        # Work waits: a queue is paused, a worker is killed, a binding is lost, rows cannot leave.
        await command(monitored, "queues", "pause", "campaigns.apply", "--reason", "a test")
        await until(lambda: is_paused(monitored, "campaigns"), 20)
        await create_campaigns(monitored, LATE)
        await system.processes["metrics"].kill()
        await events.publish(Message(b"{}"), f"{REPORTED}.claude")
        await events.publish(Message(b"{}"), "nobody.knows.v1")
        async with database.begin() as tx:
            message = OutboxMessage("adrelay.nowhere", "nobody.knows.v1", b"{}", str(uuid4()))
            await outbox.add(tx, [message])
        queue = await channel.get_queue("metrics.record")
        await queue.unbind(topology.WORK_EXCHANGE, BINDING)
        # Webhooks with a bad signature, and one that maps to no event.
        for number in range(20):
            assert await send_webhook(monitored, b'{"id": "%d"}' % number, "another") == 401
        secret = monitored.settings.claude_webhook_secret.get_secret_value().split()[0]
        unknown = b'{"id": "evt_1", "event": "campaign.renamed", "data": {}}'
        assert await send_webhook(monitored, unknown, secret) == 200
        waiting = (
            "AdrelayNoConsumer",
            "AdrelayUnrouted",
            "AdrelayOutboxParked",
            "AdrelayPathBroken",
            "AdrelayWebhookSignatures",
            "AdrelayWebhooksUnrecognised",
        )
        await monitored.wait_fired(*waiting)
        # Logins are not answered, and a platform is gone when the late campaigns reach it.
        await system.processes["auth"].kill()
        await fail_logins(monitored)
        await monitored.wait_fired("AdrelayAcceptanceBudget 1h", "AdrelayPaused")
        await system.processes["sandbox"].kill()
        await command(monitored, "queues", "resume", "campaigns.apply")
        await monitored.wait_fired("AdrelayEffectBudget 1h", "AdrelayBreakerOpen")

        # All is mended, as the runbooks say; a worker is not ready before its path is complete.
        await command(monitored, "migrate")
        await monitored.wait_fired("AdrelayPathsToRecover")
        await asyncio.gather(*(restart(monitored, name) for name in ("metrics", "auth", "sandbox")))
        await monitored.wait_fired("AdrelayDeadLetters")
        await command(monitored, "broker", "requeue-unrouted")
        unrouted = await channel.get_queue(topology.UNROUTED)
        await unrouted.purge()
        async with database.begin() as tx:
            await tx.execute(text("delete from outbox where parked_reason is not null"))
            await revoke_api_key(tx, key)
        for name in ("metrics.record", "webhooks.unrecognised"):
            await command(monitored, "dead-letters", "discard", "--queue", name)
    # Those who report are gone themselves.
    await system.processes["relay"].kill()
    await system.processes["web"].kill()
    await monitored.wait_fired("AdrelayUnwatched", "AdrelayNoIngress")
    await asyncio.gather(*(restart(monitored, name) for name in ("relay", "web")))

    expected = {
        *waiting,
        "AdrelayAcceptanceBudget 1h",
        "AdrelayBreakerOpen",
        "AdrelayDeadLetters",
        "AdrelayEffectBudget 1h",
        "AdrelayNoIngress",
        "AdrelayPathsToRecover",
        "AdrelayPaused",
        "AdrelayUnwatched",
    }
    await monitored.wait_silent(*expected)
    print(f"\n{len(expected)} alerts fired and stopped:\n{monitored.table(expected)}")  # noqa: T201
    assert len(expected) >= EIGHT
