"""The release step, against the servers."""

import asyncio

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from pamqp.common import FieldTable
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from infra.amqp import topology
from infra.amqp.permissions import OPS_USER
from infra.amqp.policies import EVENT_LOG_POLICY
from infra.commands.migrate import ReleaseRefused, declare_topology, release
from infra.commands.release_wait import wait_for_release
from infra.deploy.services.ports import is_free
from infra.messaging.topology_monitor import check_once
from infra.settings import Settings
from tests.fork_server import run_module
from tests.services import Services, as_user, environment, url_as


async def test_a_release_is_repeated_without_effect(
    settings: Settings, engine: AsyncEngine
) -> None:
    await release(as_user(OPS_USER, settings))
    await release(as_user(OPS_USER, settings))

    async with engine.connect() as connection:
        rows = await connection.scalar(text("select count(*) from alembic_version"))
    assert rows == 1


async def test_an_event_published_after_the_release_reaches_its_queue(
    broker: AbstractConnection,
) -> None:
    async with broker.channel() as channel:
        queue = await channel.get_queue("campaigns.apply", ensure=False)
        assert (await queue.purge()).message_count == 0
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE)
        assert exchange.name == topology.EVENTS_EXCHANGE


async def test_a_queue_with_other_arguments_is_named_with_what_to_do(
    settings: Settings, broker: AbstractConnection
) -> None:
    async with broker.channel() as channel:
        await channel.queue_delete("metrics.record")
        await channel.declare_queue("metrics.record", durable=True)

    with pytest.raises(ReleaseRefused, match=r"metrics\.record.*new name"):
        await declare_topology(url_as(OPS_USER, settings.rabbitmq_url))

    async with broker.channel() as channel:
        await channel.queue_delete("metrics.record")
    await declare_topology(url_as(OPS_USER, settings.rabbitmq_url))


async def test_an_exchange_of_another_kind_is_named_with_what_to_do(
    settings: Settings, broker: AbstractConnection
) -> None:
    async with broker.channel() as channel:
        await channel.exchange_delete(topology.RETURN_EXCHANGE)
        await channel.declare_exchange(topology.RETURN_EXCHANGE, "fanout", durable=True)

    with pytest.raises(ReleaseRefused, match=r"exchange 'adrelay\.back'.*new name"):
        await declare_topology(url_as(OPS_USER, settings.rabbitmq_url))

    async with broker.channel() as channel:
        await channel.exchange_delete(topology.RETURN_EXCHANGE)
    await declare_topology(url_as(OPS_USER, settings.rabbitmq_url))


async def test_a_member_of_a_cluster_that_is_not_there_does_not_hold_a_release_up(
    settings: Settings,
) -> None:
    url = url_as(OPS_USER, settings.rabbitmq_url)
    port = next(port for port in range(24_600, 24_700) if is_free(port))
    urls = SecretStr(f"{URL(url).with_port(port)} {url}")

    await release(settings.model_copy(update={"rabbitmq_url": urls}), wait_seconds=1)


async def test_servers_that_are_not_there_are_named_when_the_time_is_up() -> None:
    port = next(port for port in range(24_600, 24_700) if is_free(port))
    nowhere = Settings.model_validate({"database_url": f"postgresql://a:b@127.0.0.1:{port}/c"})

    with pytest.raises(ReleaseRefused, match="the database cannot be reached"):
        await release(nowhere, wait_seconds=0.1)


async def test_a_wrong_password_is_refused_at_once_and_not_shown(settings: Settings) -> None:
    url = settings.database_url.get_secret_value().replace("adrelay:", "adrelay:wrong", 1)
    wrong = settings.model_copy(update={"database_url": type(settings.database_url)(url)})

    with pytest.raises(ReleaseRefused) as refused:
        await release(wrong)
    assert "password" in str(refused.value)
    assert url not in str(refused.value)


async def test_redis_is_empty_at_the_start_of_a_test(redis: Redis) -> None:
    assert await redis.dbsize() == 0


async def test_a_full_foreign_queue_does_not_refuse_what_is_published(
    settings: Settings, broker: AbstractConnection
) -> None:
    await release(as_user(OPS_USER, settings))

    async with broker.channel() as channel:
        arguments: FieldTable = {
            "x-queue-type": "quorum",
            "x-max-length": 1,
            "x-overflow": "reject-publish",
        }
        foreign = await channel.declare_queue("foreign", durable=True, arguments=arguments)
        for number in range(5):
            message = Message(str(number).encode())
            await channel.default_exchange.publish(message, foreign.name, timeout=5)
        await channel.queue_delete(foreign.name)


async def test_the_retention_of_the_event_log_is_a_policy_that_a_release_changes(
    settings: Settings, services: Services
) -> None:
    vhost = URL(settings.rabbitmq_url.get_secret_value()).path.strip("/")
    for age, size in (("2h", 5_000_000), ("7D", 10 * 1024**3)):
        wanted = {"history_max_age": age, "history_max_bytes": size}
        await release(as_user(OPS_USER, settings).model_copy(update=wanted))
        found = services.operator.call("GET", "policies", vhost, EVENT_LOG_POLICY)
        assert found["definition"] == {"max-age": age, "max-length-bytes": size}
        assert found["pattern"] == r"^adrelay\.history$"
    queue = services.operator.call("GET", "queues", vhost, topology.EVENT_LOG)
    assert queue["arguments"] == {"x-queue-type": "stream"}


async def test_an_event_log_of_an_earlier_version_stays_as_it_is(
    settings: Settings, services: Services, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    vhost = URL(settings.rabbitmq_url.get_secret_value()).path.strip("/")
    old: FieldTable = {
        "x-queue-type": "stream",
        "x-max-age": "7D",
        "x-max-length-bytes": 10 * 1024**3,
    }
    async with broker.channel() as channel:
        await channel.queue_delete(topology.EVENT_LOG)
        await channel.declare_queue(topology.EVENT_LOG, durable=True, arguments=old)

    await release(as_user(OPS_USER, settings))

    assert services.operator.call("GET", "queues", vhost, topology.EVENT_LOG)["arguments"] == old
    routing = await check_once(settings, engine)
    assert routing is not None
    assert routing.missing == ()
    async with broker.channel() as channel:
        await channel.queue_delete(topology.EVENT_LOG)
    await declare_topology(url_as(OPS_USER, settings.rabbitmq_url))


async def test_a_log_with_other_arguments_is_refused(
    settings: Settings, broker: AbstractConnection
) -> None:
    async with broker.channel() as channel:
        await channel.queue_delete(topology.EVENT_LOG)
        other: FieldTable = {"x-queue-type": "stream", "x-max-age": "1h"}
        await channel.declare_queue(topology.EVENT_LOG, durable=True, arguments=other)

    with pytest.raises(ReleaseRefused, match=r"adrelay\.history.*new name"):
        await declare_topology(url_as(OPS_USER, settings.rabbitmq_url))

    async with broker.channel() as channel:
        await channel.queue_delete(topology.EVENT_LOG)
    await declare_topology(url_as(OPS_USER, settings.rabbitmq_url))


async def test_a_release_without_a_management_api_says_that_the_policies_stay(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    without = as_user(OPS_USER, settings).model_copy(update={"rabbitmq_management_url": None})
    await release(without)
    assert "the policy adrelay-event-log" in capsys.readouterr().err


async def test_a_process_that_waits_for_the_release_goes_on_when_it_has_run(
    settings: Settings, engine: AsyncEngine
) -> None:
    async with engine.begin() as tx:
        (head,) = await tx.scalars(text("select version_num from alembic_version"))
        await tx.execute(text("update alembic_version set version_num = '0001'"))
    waiting = asyncio.create_task(wait_for_release(settings, interval=0.01))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    async with engine.begin() as tx:
        await tx.execute(text("update alembic_version set version_num = :head"), {"head": head})

    await asyncio.wait_for(waiting, timeout=30)


async def test_the_database_of_a_newer_release_does(
    settings: Settings, engine: AsyncEngine
) -> None:
    async with engine.begin() as tx:
        (head,) = await tx.scalars(text("select version_num from alembic_version"))
        await tx.execute(text("update alembic_version set version_num = '9999_of_later'"))
    try:
        await asyncio.wait_for(wait_for_release(settings, interval=0.01), timeout=30)
    finally:
        async with engine.begin() as tx:
            changed = text("update alembic_version set version_num = :head")
            await tx.execute(changed, {"head": head})


async def test_the_command_that_waits_changes_nothing(settings: Settings) -> None:
    done = run_module("infra.commands", "migrate", "--wait", env=environment(settings))
    assert (done.returncode, done.stderr) == (0, "")
