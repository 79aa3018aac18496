import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.campaigns import SavedCampaign
from handlers.looks import Answered, Idle
from handlers.pushes import AT_A_TIME, Push, push_all
from handlers.sync import push_campaigns, sync_campaigns
from infra.errors import Failure, Permanent, Snooze, Transient
from infra.platforms import Refused
from infra.resources import Resources
from infra.store.campaigns import StoredCampaign
from infra.store.changes import update_campaigns
from infra.store.operations import find_operation
from tests.handlers.attempts import handled
from tests.handlers.book import Book, Frozen
from tests.handlers.samples import (
    START,
    STRANGER,
    deleted,
    put,
    running,
    saved,
    stored,
    sync_request,
)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def world(resources: Resources, book: Book) -> Resources:
    """What a sync worker holds, with a book for a platform."""
    return replace(resources, platforms={"claude": book, "gemini": Book()})


async def synced(world: Resources, *hints: Any) -> tuple[list[Any], list[Failure]]:
    """Prepare and handle hints; gives the events caused, and the failures of single hints."""
    values = await push_campaigns(list(hints), world)
    failures = [value for value in values if isinstance(value, Failure)]
    ready = [value for value in values if not isinstance(value, Failure)]
    return await handled(world, sync_campaigns, ready), failures


async def write(engine: AsyncEngine, campaign: StoredCampaign) -> None:
    async with engine.begin() as tx:
        await update_campaigns(tx, [campaign])


async def expire_leases(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await tx.execute(text("update campaigns set leased_until = now() - interval '1 second'"))


async def leased(engine: AsyncEngine) -> int:
    async with engine.connect() as tx:
        query = "select count(*) from campaigns where leased_until > clock_timestamp()"
        return int((await tx.execute(text(query))).scalar_one())


async def outbox(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as tx:
        rows = await tx.execute(text("select routing_key from outbox order by id"))
        return [row[0] for row in rows]


def refusing(code: str) -> Any:
    async def fault(_: SavedCampaign) -> None:
        raise Refused(code, "not allowed here")

    return fault


def failing(error: Exception, *guilty: StoredCampaign) -> Any:
    ids = {campaign.id for campaign in guilty}

    async def fault(campaign: SavedCampaign) -> None:
        if not ids or campaign.campaign_id in ids:
            raise error

    return fault


async def test_a_saved_campaign_is_pushed_under_its_version_and_its_lease_released(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = stored()
    await put(engine, campaign)
    hint = saved(campaign)
    [event], failures = await synced(world, hint)
    assert failures == []
    assert event.routing_key == "campaign.synced.v1"
    assert event.causationid == hint.id
    assert (event.data.version, event.data.status) == (1, "active")
    assert event.data.platform_campaign_id == f"p-{campaign.id}"
    assert book.pushes == [(campaign.wish(), f"{campaign.id}-1")]
    assert await leased(engine) == 0
    assert await outbox(engine) == []


async def test_what_is_pushed_is_the_newest_version_and_once_for_all_hints(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = stored()
    other = stored()
    newest = replace(campaign, name="Winter", version=3, wanted_version=3)
    await put(engine, newest, other)
    hints = [saved(campaign), saved(other), saved(newest), saved(campaign)]
    events, _ = await synced(world, *hints)
    assert {(event.data.campaign_id, event.data.version) for event in events} == {
        (campaign.id, 3),
        (other.id, 1),
    }
    assert len(events) == len(book.pushes) == 2
    assert book.campaigns[f"p-{campaign.id}"].name == "Winter"


async def test_a_version_that_the_platform_holds_is_not_pushed_again(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = running()
    await put(engine, campaign)
    assert await synced(world, saved(campaign)) == ([], [])
    assert book.pushes == []


async def test_a_campaign_that_another_worker_pushes_is_left_alone_for_a_second(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign, free = stored(), stored()
    await put(engine, campaign, free)
    thawed = asyncio.Event()
    slow = replace(world, platforms={"claude": Frozen(book, thawed)})
    async with asyncio.timeout(10):
        first = asyncio.create_task(push_campaigns([saved(campaign)], slow))
        while not await leased(engine):
            await asyncio.sleep(0.01)
        events, [failure] = await synced(world, saved(campaign), saved(free))
        thawed.set()
        [look] = await first
    assert isinstance(failure, Snooze)
    assert failure.seconds == 1
    assert [event.data.campaign_id for event in events] == [free.id]
    assert isinstance(look, Answered)


@pytest.mark.parametrize("error", [Transient("timeout"), ValueError("bug")])
async def test_a_failed_push_fails_its_own_hints_alone_and_can_be_repeated_at_once(
    world: Resources, engine: AsyncEngine, book: Book, error: Exception
) -> None:
    guilty, fine = stored(), stored()
    await put(engine, guilty, fine)
    book.fault = failing(error, guilty)
    events, failures = await synced(world, saved(fine), saved(guilty), saved(guilty))
    assert [event.data.campaign_id for event in events] == [fine.id]
    assert [type(failure) for failure in failures] == [Transient, Transient]
    assert await leased(engine) == 0
    book.fault = Book().fault
    [event], _ = await synced(world, saved(guilty))
    assert event.data.campaign_id == guilty.id


async def test_when_the_platform_asks_for_patience_the_rest_of_the_batch_waits_with_it(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaigns = [stored() for _ in range(20)]
    await put(engine, *campaigns)
    asked = 0

    async def fault(_: SavedCampaign) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        raise Snooze("asked for patience", 30)

    book.fault = fault
    events, failures = await synced(world, *map(saved, campaigns))
    assert events == []
    assert [isinstance(f, Snooze) and f.seconds for f in failures] == [30] * 20
    assert asked <= AT_A_TIME
    assert await leased(engine) == 0


async def test_only_some_pushes_are_under_way_at_a_time(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaigns = [stored() for _ in range(20)]
    await put(engine, *campaigns)

    async def fault(_: SavedCampaign) -> None:
        await asyncio.sleep(0.01)

    book.fault = fault
    events, _ = await synced(world, *map(saved, campaigns))
    assert len(events) == 20
    assert book.most_at_a_time == AT_A_TIME


async def test_pushes_that_take_too_long_are_cut_off_and_wait(book: Book) -> None:
    slow, quick = stored(), stored()

    async def fault(campaign: SavedCampaign) -> None:
        if campaign.campaign_id == slow.id:
            await asyncio.Event().wait()

    book.fault = fault
    pushes = [Push(slow, "a"), Push(quick, "b")]
    answers = await push_all(pushes, {"claude": book}, within=0.05)
    assert isinstance(answers[slow.id], Snooze)
    assert not isinstance(answers[quick.id], Failure)


async def test_a_refusal_of_the_platform_is_an_event_and_no_failure(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = stored()
    await put(engine, campaign)
    book.fault = refusing("policy")
    [event], failures = await synced(world, saved(campaign))
    assert failures == []
    assert event.routing_key == "campaign.sync_refused.v1"
    assert (event.data.code, event.data.version) == ("policy", 1)


async def test_a_hint_about_a_campaign_that_was_never_saved_is_dead(
    world: Resources, engine: AsyncEngine
) -> None:
    campaign = stored()
    await put(engine, campaign)
    strange = [saved(stored()), saved(replace(campaign, platform="gemini"))]
    _, failures = await synced(world, *strange)
    assert [type(failure) for failure in failures] == [Permanent, Permanent]


# --- deletion -------------------------------------------------------------------------------


def tombstone(campaign: StoredCampaign) -> StoredCampaign:
    version = campaign.version + 1
    return replace(
        campaign, status="deleted", deleted_at=START, version=version, wanted_version=version
    )


async def test_a_deleted_campaign_is_deleted_at_its_platform(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = tombstone(running())
    await put(engine, campaign)
    [event], _ = await synced(world, deleted(campaign))
    assert (event.data.status, event.data.version) == ("deleted", campaign.version)
    assert book.deletions == [(campaign.platform_campaign_id, f"{campaign.id}-{campaign.version}")]
    assert book.pushes == []


async def test_a_campaign_that_never_left_needs_no_deletion(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = stored()
    gone = tombstone(campaign)
    await put(engine, gone)
    assert await synced(world, saved(campaign), deleted(gone)) == ([], [])
    assert (book.pushes, book.deletions) == ([], [])


async def test_a_deleted_campaign_whose_creation_was_lost_is_found_and_deleted(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = stored()
    await put(engine, campaign)
    await push_campaigns([saved(campaign)], world)  # and the worker dies before its commit
    await write(engine, tombstone(campaign))
    [event], _ = await synced(world, saved(campaign), deleted(tombstone(campaign)))
    assert event.data.status == "deleted"
    assert book.pushes[-1][0].status == "paused"
    assert book.campaigns == {}


# --- crashes and freezes --------------------------------------------------------------------


async def test_a_push_that_was_done_and_not_committed_is_repeated_under_the_same_key(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = stored()
    await put(engine, campaign)
    await push_campaigns([saved(campaign)], world)
    [event], _ = await synced(world, saved(campaign))
    assert event.data.version == 1
    assert [key for _, key in book.pushes] == [f"{campaign.id}-1"] * 2


async def test_a_worker_that_died_while_it_pushed_holds_others_up_only_for_its_lease(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = stored()
    await put(engine, campaign)
    dying = replace(world, platforms={"claude": Frozen(book, asyncio.Event())})
    task = asyncio.create_task(push_campaigns([saved(campaign)], dying))
    async with asyncio.timeout(10):
        while not await leased(engine):
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})
    assert isinstance((await synced(world, saved(campaign)))[1][0], Snooze)
    await expire_leases(engine)
    assert len((await synced(world, saved(campaign)))[0]) == 1


async def test_a_worker_frozen_beyond_its_lease_causes_another_push_of_the_newest_version(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = stored()
    await put(engine, campaign)
    thawed = asyncio.Event()
    slow = replace(world, platforms={"claude": Frozen(book, thawed)})
    async with asyncio.timeout(10):
        frozen = asyncio.create_task(push_campaigns([saved(campaign)], slow))
        while not await leased(engine):
            await asyncio.sleep(0.01)
        await expire_leases(engine)
        newest = replace(campaign, name="Winter", version=2, wanted_version=2)
        await write(engine, newest)
        [event], _ = await synced(world, saved(newest))
        await write(engine, replace(newest, synced_version=2, platform_campaign_id="p-1"))
        thawed.set()
        [look] = await frozen
    assert event.data.version == 2
    assert book.campaigns[f"p-{campaign.id}"].name == "Autumn", "the old version did not come late"
    assert isinstance(look, Idle)
    assert await outbox(engine) == ["campaign.sync_requested.v1.claude"]
    again = sync_request(campaign, source="urn:adrelay:sync", owner=None)
    assert len((await synced(world, again))[0]) == 1
    assert book.campaigns[f"p-{campaign.id}"].name == "Winter"


# --- asked for ------------------------------------------------------------------------------


async def test_a_request_pushes_again_what_the_platform_holds_already(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = running()
    await put(engine, campaign)
    first, second = sync_request(campaign), sync_request(campaign)
    for request in (first, first, second):
        [event], _ = await synced(world, request)
        assert event.data.version == campaign.wanted_version
        async with engine.connect() as tx:
            operation = await find_operation(tx, request.id)
        assert operation is not None
        assert operation.state == "done"
        assert operation.result == campaign.shown().model_dump(mode="json")
    keys = [key for _, key in book.pushes]
    assert keys[0] == keys[1] != keys[2]


async def test_a_request_of_a_stranger_or_about_nothing_is_refused(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign, gone = running(), tombstone(running())
    await put(engine, campaign, gone)
    requests = [
        sync_request(campaign, owner=STRANGER),
        sync_request(stored(id=uuid4())),
        sync_request(gone),
    ]
    events, failures = await synced(world, *requests)
    assert failures == []
    assert [event.data.code for event in events] == ["NOT_FOUND"] * 3
    async with engine.connect() as tx:
        found = [await find_operation(tx, request.id) for request in requests]
    assert [operation and operation.state for operation in found] == ["refused"] * 3
    assert book.pushes == []


async def test_a_request_that_the_platform_refuses_says_so(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = running()
    await put(engine, campaign)
    book.fault = refusing("policy")
    request = sync_request(campaign)
    await synced(world, request)
    async with engine.connect() as tx:
        operation = await find_operation(tx, request.id)
    assert operation is not None
    assert operation.state == "refused"
    assert operation.error is not None
    assert operation.error.code == "policy"
