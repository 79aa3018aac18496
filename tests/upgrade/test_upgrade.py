"""N and N+1 side by side under load: nothing lost, nothing doubled, no answer of 5xx."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from time import monotonic

import pytest

from tests.chaos.fate import Fate
from tests.chaos.history import Answer, Way
from tests.chaos.invariants import check
from tests.chaos.report import SEED, Report, report_of
from tests.services import Services
from tests.upgrade.installation import CONSOLE, MODULES, Installation, open_installation
from tests.upgrade.release import PREVIOUS, Release, open_present, open_previous

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

SIDE_BY_SIDE = 1.5  # seconds
SERVER_ERROR = 500
BURST, PAUSE = 10, 0.4  # events at once on each way, and seconds between
PATIENCE = 120.0  # seconds in which what got no answer is taken


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    with open_previous(tmp_path_factory.mktemp("upgrade") / "previous") as release:
        yield release


@pytest.fixture
def report(pytestconfig: pytest.Config) -> Report:
    return report_of(pytestconfig)


@asynccontextmanager
async def under_load(installation: Installation) -> AsyncIterator[None]:
    """Send events on both ways, and let the clients work, for the length of a block.

    Ends early with the first request that fails.
    """
    load, stop = installation.world.load, asyncio.Event()

    async def flow(way: Way) -> None:
        while not stop.is_set():
            await load.burst(way, BURST)
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as group, installation.clients.busy():
        for way in Way:
            group.create_task(flow(way))
        try:
            yield
        finally:
            stop.set()
    await load.insist(PATIENCE)


async def test_an_upgrade_a_downgrade_and_an_upgrade_again_lose_and_double_nothing(
    services: Services, previous: Release, tmp_path_factory: pytest.TempPathFactory, report: Report
) -> None:
    present, dice, began = open_present(), Random(SEED), monotonic()
    folder = tmp_path_factory.mktemp("run")
    async with open_installation(services, previous, folder) as installation:
        async with under_load(installation):
            await asyncio.sleep(SIDE_BY_SIDE)
            await installation.migrate(present)
            await asyncio.sleep(SIDE_BY_SIDE)
            await _replace(installation, _shuffle(dice), present)
            console = await installation.open(CONSOLE, present)
            await console.end()
            await _replace(installation, _shuffle(dice), previous)
            await _replace(installation, _shuffle(dice), present)
        found = await installation.settle()
        report.say(f"UPGRADE {PREVIOUS} seed={SEED} {_describe(installation, monotonic() - began)}")
        check(found)
        _check_answers(installation)
        await _check_promises(installation)


def _shuffle(dice: Random) -> list[str]:
    return dice.sample(list(MODULES), len(MODULES))


async def _replace(installation: Installation, names: Sequence[str], release: Release) -> None:
    """Replace every process; what was sent to the release before is sent again to this one."""
    await installation.replace(names, release, SIDE_BY_SIDE)
    await installation.clients.report_again()


def _describe(installation: Installation, seconds: float) -> str:
    history, promises = installation.world.history, installation.clients.promises
    letters = sum(sent.end in (Fate.POISON, Fate.STUBBORN) for sent in history.having(Answer.OK))
    return (
        f"events {len(history.sent)} (accepted {history.count(Answer.OK)}, of them for dead"
        f" letters {letters}; refused {history.count(Answer.REFUSED)}, unknown"
        f" {history.count(Answer.UNKNOWN)}); campaigns {len(promises.campaigns)}, writes"
        f" {promises.writes}, logins {promises.logins}, days of webhooks {len(promises.days)};"
        f" answers {installation.count_answers()}; {seconds:.0f} s"
    )


def _check_answers(installation: Installation) -> None:
    """Every request was answered, by either release, and never with 5xx."""
    statuses = installation.balancer.statuses
    assert not [status for status in statuses if status >= SERVER_ERROR], statuses
    history = installation.world.history
    assert not [sent for sent in history.having(Answer.UNKNOWN) if sent.way is Way.HTTP]
    asked = {process for process, _ in installation.balancer.answers}
    served = {p.url for p in installation.started if p.module == MODULES["web"]}
    assert asked == served


async def _check_promises(installation: Installation) -> None:
    """Every write, webhook and campaign has had its effect once, here and at the platform."""
    world, promises = installation.world, installation.clients.promises
    rows = await world.rows("select cast(id as text), name from campaigns")
    assert {row[0]: row[1] for row in rows} == promises.campaigns
    assert await world.rows("select state, count(*) from operations group by 1") == [
        ("done", promises.writes)
    ]
    held = installation.sandbox.app.states["claude"].campaigns.values()
    references = [campaign.desired.reference for campaign in held]
    assert sorted(references) == sorted(promises.campaigns)
    days = await world.rows("select date, impressions from campaign_metrics")
    assert {row[0]: row[1] for row in days} == promises.days
    assert {installation.recorded[f"day-{day}"] for day in promises.days} == {1}
