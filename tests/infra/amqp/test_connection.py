"""Connections that come back."""

import asyncio
import gc

import pytest
from pydantic import SecretStr
from yarl import URL

from infra.amqp.connection import BrokerConnection, with_broker_timeout
from infra.deploy.services.blocking_management_api import BlockingManagementApi
from infra.errors import Outage
from infra.resources import Resources
from tests.infra.ledger import until
from tests.processes import free_port
from tests.services import Services


async def test_a_cancellation_that_nobody_asked_for_is_an_outage() -> None:
    stuck: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    stuck.cancel()
    with pytest.raises(Outage, match="stuck"):
        await with_broker_timeout(stuck, 1)


async def test_a_cancellation_that_somebody_asked_for_stays_one() -> None:
    async def wait() -> None:
        await with_broker_timeout(asyncio.get_running_loop().create_future(), 60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_dead_members_of_a_cluster_cost_a_caller_nothing(resources: Resources) -> None:
    url = resources.settings.rabbitmq_url.get_secret_value()
    dead = [str(URL(url).with_port(free_port())) for _ in range(3)]
    own = resources.settings.model_copy(update={"rabbitmq_url": SecretStr(" ".join([*dead, url]))})
    for _ in range(5):
        link = BrokerConnection(own, "test")
        assert not (await link.open_channel()).is_closed
        await link.close()


# aiormq leaves the socket of a connection attempt that timed out to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_member_of_a_cluster_that_says_nothing_is_passed_by(
    resources: Resources,
) -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    url = resources.settings.rabbitmq_url.get_secret_value()
    urls = SecretStr(f"{URL(url).with_port(port)} {url}")
    own = resources.settings.model_copy(update={"rabbitmq_url": urls, "broker_timeout": 0.5})
    for _ in range(4):
        link = BrokerConnection(own, "test")
        assert not (await link.open_channel()).is_closed
        await link.close()
    listener.close()
    gc.collect()


async def test_a_connection_that_was_lost_costs_the_next_caller_nothing(
    resources: Resources, services: Services
) -> None:
    link = BrokerConnection(resources.settings, "test-lost")
    channel = await link.open_channel()
    await until(lambda: asyncio.to_thread(_close, services.operator, "test-lost"))
    await asyncio.wait({channel.closing}, timeout=10)
    assert channel.is_closed
    assert not (await link.open_channel()).is_closed
    await link.close()


def _close(operator: BlockingManagementApi, name: str) -> bool:
    """Close the connection of this name as an operator would, once the broker lists it."""
    for connection in operator.call("GET", "connections"):
        if connection.get("client_properties", {}).get("connection_name") == name:
            operator.call("DELETE", "connections", connection["name"])
            return True
    return False


async def test_a_wait_that_ends_without_a_reason_is_an_outage_and_a_bug_is_none() -> None:
    async def end(error: Exception) -> None:
        raise error

    with pytest.raises(Outage):
        await with_broker_timeout(end(Exception()), 1)
    with pytest.raises(KeyError):
        await with_broker_timeout(end(KeyError()), 1)
