"""Fixtures of every test: real servers, private to the tests, empty for each test."""

import gc
from collections.abc import AsyncIterator, Iterator

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.resources import Resources, open_resources
from infra.settings import Settings
from infra.storage.engine import open_engine
from infra.storage.redis import open_redis
from tests.cleaning import Cleaner
from tests.distribution import Controller, is_controller, is_worker, order
from tests.guardian import end_in_order, guard
from tests.server_thread import ServerThread
from tests.services import TESTER, Services, open_services, url_as
from tests.shared_settings import SharedSettings


def pytest_configure(config: pytest.Config) -> None:
    end_in_order()
    if is_controller(config):
        config.pluginmanager.register(Controller(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if is_worker(config):
        order(items)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what lives as long as the session."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _guarded(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> None:
    """Leave nothing running, however this session ends; a worker's controller has seen to it."""
    if not is_worker(pytestconfig):
        guard(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """RabbitMQ, Postgres and Redis for this session."""
    with open_services() as services:
        yield services


@pytest.fixture(scope="session")
def shared_settings(services: Services) -> Iterator[SharedSettings]:
    """The vhost and the database that the modules of this session use in turn."""
    shared = SharedSettings(services)
    yield shared
    shared.close()


@pytest.fixture(scope="module")
def settings(shared_settings: SharedSettings) -> Iterator[Settings]:
    """Settings of a vhost (declared) and database (migrated) that nobody else uses meanwhile."""
    yield shared_settings.get()
    shared_settings.check()


@pytest.fixture(scope="module")
def _cleaner(settings: Settings) -> Iterator[Cleaner]:
    cleaner = Cleaner(settings)
    yield cleaner
    cleaner.close()


@pytest.fixture(scope="module")
def servers(settings: Settings) -> Iterator[ServerThread]:  # noqa: ARG001 - they end before it does
    """What stays up for the tests of a module."""
    servers = ServerThread()
    yield servers
    servers.close()


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> None:
    """Begin every test that uses the servers with empty tables, queues and Redis."""
    if "settings" in request.fixturenames:
        request.getfixturevalue("_cleaner").clean()


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """Connections to the module's database."""
    engine = open_engine(settings)
    yield engine
    await engine.dispose()


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    """A client of the session's Redis database."""
    client = open_redis(settings)
    yield client
    await client.aclose()


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    """What a worker process holds open."""
    async with open_resources(settings, "test") as resources:
        yield resources


@pytest.fixture
async def broker(settings: Settings) -> AsyncIterator[AbstractConnection]:
    """A plain connection to the module's vhost, as a user who may do anything there."""
    connection = await aio_pika.connect(url_as(TESTER, settings.rabbitmq_url), timeout=10)
    yield connection
    await connection.close()
