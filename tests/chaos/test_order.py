"""Two processes of every worker at once: a campaign's changes are as if made one by one."""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from itertools import pairwise
from random import Random
from typing import Any
from uuid import UUID

import pytest

from events.envelope import Event
from infra.amqp import topology
from infra.amqp.message import build_message
from infra.sandbox.campaigns import DesiredCampaign
from infra.sandbox.fault_injection import Faults
from infra.sandbox.state import ApiCall, PlatformState
from infra.storage.metrics import list_daily_metrics
from tests.chaos.order import Ending, Story, check_story, new_id, tell, tell_more
from tests.chaos.report import SEED, Report
from tests.chaos.stage import Stage
from tests.handlers.campaigns.test_any_order import expected_metrics
from tests.handlers.samples import put, saved, stored, sync_request
from tests.infra.ledger import depth, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

CAMPAIGNS = 16
WORKERS = ("workers.campaigns", "workers.sync", "workers.metrics", "workers.relay")
PATIENCE = 100.0  # seconds; a report that came far too early waits up to 30 s at a time
NOTHING = DesiredCampaign("", 0, "USD", (), (18, 65), "active", "", "1")


@pytest.fixture
def dice(chaos_report: Report, request: pytest.FixtureRequest) -> Random:
    chaos_report.say(f"CHAOS seed={SEED} {request.node.name}")
    return Random(SEED)


@asynccontextmanager
async def twins(stage: Stage, *modules: str) -> AsyncIterator[None]:
    """Run two processes of each module."""
    async with AsyncExitStack() as running:
        pairs = [stage.healthy(module) for module in modules for _ in range(2)]
        await asyncio.gather(*map(running.enter_async_context, pairs))
        yield


async def test_changes_are_as_if_in_version_order_for_every_client(
    stage: Stage, dice: Random
) -> None:
    book = stage.platforms.states["claude"]
    stage.platforms.platforms["claude"].api.faults = Faults(latency_ms=40)
    ids = [new_id(dice) for _ in range(CAMPAIGNS)]
    stories = [tell(dice, _platform_id(book, i), i) for i in ids]
    bus: dict[str, Any] = {}
    async with twins(stage, *WORKERS):
        await _deliver(stage, dice, [event for story in stories for event in story.told()])
        await until(lambda: _settled(stage, bus), PATIENCE)
        before = await _rows(stage)
        ended = [story for story in stories if before[story.id].status == "deleted"]
        late = [
            event
            for story in ended
            for event in tell_more(
                dice, story, known=before[story.id].platform_campaign_id is not None
            )
        ]
        await _deliver(stage, dice, late)
        await until(lambda: _settled(stage, bus), PATIENCE)
    assert ended, "no story has ended: choose another seed"
    rows = await _rows(stage)
    assert all(_same(rows[story.id], before[story.id]) for story in ended)
    assert await stage.count("select count(*) from dead_letters") == 0
    await _check(stage, stories, bus, rows)
    _check_calls(list(book.calls))


async def _check(
    stage: Stage, stories: Sequence[Story], bus: dict[str, Any], rows: dict[UUID, Any]
) -> None:
    held = stage.platforms.states["claude"].campaigns.values()
    for story in stories:
        here = [campaign for campaign in held if campaign.desired.reference == str(story.id)]
        check_story(story, list(bus.values()), Ending(rows[story.id], here))
        async with stage.resources.engine.connect() as tx:
            recorded = await list_daily_metrics(tx, story.id, None, None)
        found = {day.date: (day.impressions, day.clicks, int(day.spend)) for day in recorded}
        assert found == expected_metrics(story.figures)


async def test_two_sync_workers_never_push_one_campaign_at_the_same_time(
    stage: Stage, dice: Random
) -> None:
    stage.platforms.platforms["claude"].api.faults = Faults(latency_ms=150)
    campaigns = [stored() for _ in range(3)]
    await put(stage.resources.engine, *campaigns)
    hints: list[Event] = [saved(campaign) for campaign in campaigns]
    hints += [sync_request(campaign) for campaign in campaigns for _ in range(15)]
    waits = await stage.listen(topology.retry_exchange("1s"))
    async with twins(stage, "workers.sync"):
        await _deliver(stage, dice, hints, most=2)
        await until(lambda: stage.came_to("sync.claude", len(hints)), PATIENCE)
    calls = list(stage.platforms.states["claude"].calls)
    _check_calls(calls)
    assert await depth(stage.broker, waits) > 0, "nobody had to wait for anybody"
    assert set(map(_pushed, calls)) == {str(campaign.id) for campaign in campaigns}


def _check_calls(calls: Sequence[ApiCall]) -> None:
    """See that the calls about one campaign come one by one, with versions that only grow."""
    about: dict[str, list[ApiCall]] = defaultdict(list)
    for call in calls:
        about[_pushed(call)].append(call)
    assert _cross(calls), "no two calls were ever under way at once"
    for own in about.values():
        assert not _cross(own)
        versions = [int(call.version) for call in own if call.version and call.action != "delete"]
        assert versions == sorted(versions)


def _cross(calls: Sequence[ApiCall]) -> bool:
    ordered = sorted(calls, key=lambda call: call.began)
    ends: list[datetime] = [call.at for call in ordered]
    return any(after.began < end for (_, after), end in zip(pairwise(ordered), ends, strict=False))


def _pushed(call: ApiCall) -> str:
    """Tell which of our campaigns a call is about: its idempotency key names it."""
    found = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", call.key or "")
    assert found is not None
    return found[0]


def _platform_id(book: PlatformState, campaign_id: UUID) -> str:
    """Tell beforehand what the platform will call a campaign."""
    twin = PlatformState(book.prefix, book.secret)
    return twin.create(NOTHING, f"create-{campaign_id}").id


async def _deliver(stage: Stage, dice: Random, events: Sequence[Event], most: int = 3) -> None:
    """Publish events shuffled, some of them up to ``most`` times, a few at a time."""
    messages = [build_message(e) for e in events for _ in range(dice.randint(1, most))]
    dice.shuffle(messages)
    while messages:
        size = dice.randint(1, 40)
        now, messages = messages[:size], messages[size:]
        assert not any(await stage.resources.publisher.publish_all(now))
        await asyncio.sleep(dice.uniform(0, 0.2))


async def _settled(stage: Stage, bus: dict[str, Any]) -> bool:
    """Tell whether every event that was on the bus is handled by whom it is for."""
    bus.update({id_: copies[0] for id_, copies in (await stage.seen()).items()})
    if await stage.count("select count(*) from outbox"):
        return False
    for queue in topology.WORK_QUEUES:
        kinds = {event.event_type() for event in queue.events}
        wanted = sum(
            event["type"] in kinds and queue.platform in (None, event["data"].get("platform"))
            for event in bus.values()
        )
        if await stage.waiting(queue.name) or await stage.handled(queue.name) != wanted:
            return False
    return True


async def _rows(stage: Stage) -> dict[UUID, Any]:
    return {row.id: row for row in await stage.rows("select * from campaigns")}


def _same(one: Any, other: Any) -> bool:
    names = ("name", "status", "desired_status", "desired_version", "deleted_at")
    return all(getattr(one, name) == getattr(other, name) for name in names)
