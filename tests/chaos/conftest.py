"""One set of servers and one running system for all faults of a session.

What survives one fault has to survive the next as well: the books are kept over all of them.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from aio_pika.abc import AbstractConnection

from infra.resources import Resources
from infra.settings import Settings
from tests.chaos.nemesis import Nemesis, recorder
from tests.chaos.servers import Servers, open_servers
from tests.chaos.stage import Stage, open_stage
from tests.chaos.world import World, open_world
from tests.infra.ledger import until
from tests.services import open_settings


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with open_servers() as servers:
        yield servers


@pytest.fixture(scope="session")
def chaos_settings(servers: Servers) -> Iterator[Settings]:
    with open_settings(servers.services, "chaos") as settings:
        yield settings


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(
    servers: Servers, chaos_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("chaos")
    async with open_world(chaos_settings, servers, folder) as world:
        yield world
        await until(world.nothing_in_hand, 20)


@pytest.fixture(scope="session")
def nemesis(world: World, pytestconfig: pytest.Config) -> Nemesis:
    return Nemesis(world, recorder(pytestconfig))


@pytest.fixture
async def stage(
    settings: Settings, resources: Resources, broker: AbstractConnection
) -> AsyncIterator[Stage]:
    async with open_stage(settings, resources, broker) as stage:
        yield stage
