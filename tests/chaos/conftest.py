"""One set of servers and one running system for all faults of a session.

What survives one fault has to survive the next as well: the books are kept over all of them.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from aio_pika.abc import AbstractConnection

from infra.resources import Resources
from infra.settings import Settings
from tests.chaos.cluster import Cluster, open_cluster, pointed_to
from tests.chaos.nemesis import Nemesis
from tests.chaos.report import Report, report_of
from tests.chaos.servers import Servers, open_servers
from tests.chaos.stage import Stage, open_stage
from tests.chaos.world import World, open_world
from tests.distribution import FAULTS, is_worker
from tests.infra.ledger import until
from tests.services import open_settings


@pytest.fixture(scope="package")
def servers() -> Iterator[Servers]:
    with open_servers() as servers:
        yield servers


@pytest.fixture(scope="package")
def chaos_settings(servers: Servers) -> Iterator[Settings]:
    with open_settings(servers.services, "chaos") as settings:
        yield settings


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def world(
    servers: Servers, chaos_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("chaos")
    async with open_world(chaos_settings, servers, folder) as world:
        yield world
        await until(world.nothing_in_hand, 20)


@pytest.fixture(scope="session")
def chaos_report(pytestconfig: pytest.Config) -> Report:
    return report_of(pytestconfig)


@pytest.fixture(scope="package")
def nemesis(world: World, chaos_report: Report) -> Nemesis:
    return Nemesis(world, chaos_report)


@pytest.fixture
async def stage(
    settings: Settings, resources: Resources, broker: AbstractConnection
) -> AsyncIterator[Stage]:
    async with open_stage(settings, resources, broker) as stage:
        yield stage


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with open_cluster() as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cluster_world(
    cluster: Cluster, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """The same system on three brokers; Postgres and Redis are the session's."""
    folder = tmp_path_factory.mktemp("cluster")
    with open_settings(servers.services, "cluster") as settings:
        own = pointed_to(cluster, settings)
        async with open_world(own, cluster.nodes[0], folder) as world:
            yield world
            await until(world.nothing_in_hand, 20)


@pytest.fixture(scope="module")
def cluster_nemesis(cluster_world: World, chaos_report: Report) -> Nemesis:
    return Nemesis(cluster_world, chaos_report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the faults of this session to the controller, if there is one."""
    report = report_of(session.config)
    if report.struck and is_worker(session.config):
        session.config.workeroutput[FAULTS] = [*report.said, *report.lines()]  # type: ignore[attr-defined]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the faults of the session, if there were any."""
    report = report_of(config)
    if report.struck:
        terminalreporter.section("chaos")
        for line in report.lines():
            terminalreporter.write_line(line)
