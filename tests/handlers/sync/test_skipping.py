"""The account of one owner is paused: its events are skipped, and given again on resume."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import EVENT_TYPES
from events.envelope import Event, decode
from events.sources import API_SOURCE
from infra.errors import Snooze
from infra.messaging.batch_result import BatchResult
from infra.messaging.pause_commands import pause_target, resume_target
from infra.resources import Resources
from infra.storage.pauses import PauseTarget
from tests.handlers.platform_state import Book
from tests.handlers.processing import attempted
from tests.handlers.samples import OWNER, check, deleted, put, row, running, saved, sync_request
from tests.handlers.syncing import tombstone, write
from workers.sync import SUBSCRIPTIONS

(LANE,) = (one for one in SUBSCRIPTIONS if one.queue == "sync.claude")
ACCOUNT = PauseTarget("account", "claude", str(OWNER))


async def pausing(world: Resources) -> None:
    async with world.engine.begin() as tx:
        assert await pause_target(tx, ACCOUNT, reason="a dispute", paused_by="olga")
    await world.pauses.current(fresh=True)


async def resuming(world: Resources) -> None:
    async with world.engine.begin() as tx:
        assert await resume_target(tx, ACCOUNT)
    await world.pauses.current(fresh=True)


async def handle(world: Resources, *events: Event) -> BatchResult:
    return await attempted(world, LANE, events)


async def given_again(engine: AsyncEngine) -> list[Any]:
    """Take what waits to be published, as events."""
    async with engine.begin() as tx:
        found = await tx.execute(text("delete from outbox returning id, properties, body"))
        rows = sorted(found.all())
    return [decode(EVENT_TYPES[properties["type"]], body) for _, properties, body in rows]


async def query(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(found) for found in await connection.execute(text(sql))]


def types(events: Sequence[Event]) -> list[str]:
    return sorted(event.type for event in events)


async def test_a_new_version_is_skipped_beside_another_owner_and_pushed_on_resume(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    mine, other = running(desired_version=2), running(desired_version=2, owner_id=uuid4())
    await put(engine, mine, other)
    await pausing(world)
    result = await handle(world, saved(mine), saved(other), saved(mine))
    assert (len(result.handled), result.skipped, result.failed) == (3, 2, [])
    assert [push.campaign_id for push, _ in book.pushes] == [other.id]
    await given_again(engine)
    await resuming(world)
    [request] = await given_again(engine)
    assert (request.type, request.data.campaign_id) == ("campaign.sync_requested.v1", mine.id)
    result = await handle(world, request)
    assert (len(result.handled), result.skipped) == (1, 0)
    assert [push.campaign_id for push, _ in book.pushes] == [other.id, mine.id]


async def test_requests_and_status_checks_are_given_again_under_their_own_ids(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = running(desired_version=2, synced_version=2)
    await put(engine, campaign)
    book.campaigns[campaign.platform_campaign_id or ""] = campaign.desired_state()
    first, second = sync_request(campaign), sync_request(campaign)
    checks = [check(campaign) for _ in range(50)]
    await pausing(world)
    result = await handle(world, first, second, *checks)
    assert (len(result.handled), result.skipped) == (52, 52)
    assert (book.pushes, book.questions) == ([], [])
    assert await query(engine, "select id from operations") == []
    assert await given_again(engine) == []
    # Requests that somebody waits for are all kept, of the checks the newest.
    await resuming(world)
    again = await given_again(engine)
    assert {event.id for event in again} == {first.id, second.id, checks[-1].id}
    result = await handle(world, *again)
    assert (len(result.handled), result.skipped, result.failed) == (3, 0, [])
    assert len(book.pushes) == len(book.questions) == 1
    operations = await query(engine, "select id, state from operations order by id")
    assert operations == sorted([(first.id, "done"), (second.id, "done")])
    # What is delivered once more is a duplicate, as ever.
    result = await handle(world, first, second, checks[-1], checks[0])
    assert len(result.duplicates) == 4
    assert await query(engine, "select * from skipped_triggers") == []


async def test_a_deletion_is_skipped_and_done_on_resume(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = running(desired_version=2, synced_version=2)
    await put(engine, campaign)
    gone = tombstone(campaign)
    await write(engine, gone)
    await pausing(world)
    assert (await handle(world, deleted(gone))).skipped == 1
    assert book.deletions == []
    await resuming(world)
    await handle(world, *await given_again(engine))
    assert [name for name, _ in book.deletions] == [campaign.platform_campaign_id]


async def test_a_campaign_that_was_deleted_before_any_push_is_not_asked_for(
    world: Resources, engine: AsyncEngine
) -> None:
    campaign = running(platform_campaign_id=None, synced_version=0, desired_version=1)
    await put(engine, campaign, running(desired_version=2, synced_version=2))
    await write(engine, tombstone(campaign))
    await pausing(world)
    await resuming(world)
    assert await given_again(engine) == []


async def test_an_event_whose_account_was_just_resumed_is_handled_a_moment_later(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    mine, other = running(desired_version=2), running(desired_version=2, owner_id=uuid4())
    await put(engine, mine, other)
    await pausing(world)
    async with engine.begin() as tx:  # this process has not seen it yet
        assert await resume_target(tx, ACCOUNT)
    result = await handle(world, saved(mine), saved(other))
    [failure] = result.failed
    assert isinstance(failure.error, Snooze)
    assert failure.decoded is not None
    assert failure.decoded.event.data.campaign_id == mine.id
    assert (len(result.handled), result.skipped) == (1, 0)
    await world.pauses.current(fresh=True)
    await handle(world, saved(mine))
    assert {push.campaign_id for push, _ in book.pushes} == {mine.id, other.id}


async def test_the_request_of_a_stranger_is_judged_on_resume(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = running(desired_version=2, synced_version=2)
    await put(engine, campaign)
    request = sync_request(campaign).model_copy(update={"ownerid": str(uuid4())})
    await pausing(world)
    assert (await handle(world, request)).skipped == 1
    await resuming(world)
    await handle(world, *await given_again(engine))
    assert book.pushes == []
    assert await query(engine, "select id, state from operations") == [(request.id, "refused")]


async def test_many_campaigns_are_given_again_in_one_transaction(
    world: Resources, engine: AsyncEngine
) -> None:
    campaigns = [running(desired_version=2) for _ in range(1200)]
    await put(engine, *campaigns)
    await pausing(world)
    await resuming(world)
    again = await given_again(engine)
    assert {event.data.campaign_id for event in again} == {one.id for one in campaigns}
    assert types(again) == ["campaign.sync_requested.v1"] * 1200
    assert {event.source for event in again} & {API_SOURCE} == set()


@pytest.mark.parametrize("known", [True, False])
async def test_accounts_of_another_platform_are_not_touched(
    world: Resources, engine: AsyncEngine, book: Book, *, known: bool
) -> None:
    campaign = running(desired_version=2)
    await put(engine, campaign, running(desired_version=2, platform="gemini"))
    async with engine.begin() as tx:
        target = PauseTarget("account", "gemini" if known else "claude", str(OWNER))
        assert await pause_target(tx, target, reason="x", paused_by="olga")
    await world.pauses.current(fresh=True)
    result = await handle(world, saved(campaign))
    assert result.skipped == (not known)
    assert len(book.pushes) == known
    assert (await row(engine, campaign.id)).owner_id == UUID(str(OWNER))
