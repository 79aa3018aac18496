import asyncio
import socket
import time
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from events.campaigns import CampaignSavedData
from handlers.sync.decisions import SyncOutcome
from handlers.sync.handlers import push_campaigns
from handlers.sync.pusher import MAX_CONCURRENT_PUSHES, PushRequest, push_all
from infra.errors import Failure, Snooze, Transient
from infra.resources import Resources
from tests.handlers.platform_state import Book, Frozen
from tests.handlers.samples import (
    put,
    saved,
    stored,
    sync_request,
)
from tests.handlers.syncing import (
    expire_leases,
    failing,
    leased,
    outbox,
    synced,
    write,
)


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
        [outcome] = await first
    assert isinstance(failure, Snooze)
    assert failure.seconds == 1
    assert [event.data.campaign_id for event in events] == [free.id]
    assert isinstance(outcome, SyncOutcome)
    assert outcome.pushed == campaign.id


@pytest.mark.parametrize("error", [Transient("timeout"), ValueError("bug")])
async def test_a_failed_push_fails_its_own_hints_alone_and_can_be_repeated_at_once(
    world: Resources, engine: AsyncEngine, book: Book, error: Exception
) -> None:
    failing_campaign, fine = stored(), stored()
    await put(engine, failing_campaign, fine)
    book.fault = failing(error, failing_campaign)
    events, failures = await synced(
        world, saved(fine), saved(failing_campaign), saved(failing_campaign)
    )
    assert [event.data.campaign_id for event in events] == [fine.id]
    assert [type(failure) for failure in failures] == [Transient, Transient]
    assert await leased(engine) == 0
    book.fault = Book().fault
    [event], _ = await synced(world, saved(failing_campaign))
    assert event.data.campaign_id == failing_campaign.id


async def test_when_the_platform_asks_for_patience_the_rest_of_the_batch_waits_with_it(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaigns = [stored() for _ in range(20)]
    await put(engine, *campaigns)
    asked = 0

    async def fault(_: CampaignSavedData) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        raise Snooze("asked for patience", 30)

    book.fault = fault
    events, failures = await synced(world, *map(saved, campaigns))
    assert events == []
    assert [isinstance(f, Snooze) and f.seconds for f in failures] == [30] * 20
    assert asked <= MAX_CONCURRENT_PUSHES
    assert await leased(engine) == 0


async def test_only_some_pushes_are_under_way_at_a_time(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaigns = [stored() for _ in range(20)]
    await put(engine, *campaigns)

    async def fault(_: CampaignSavedData) -> None:
        await asyncio.sleep(0.01)

    book.fault = fault
    events, _ = await synced(world, *map(saved, campaigns))
    assert len(events) == 20
    assert book.most_at_a_time == MAX_CONCURRENT_PUSHES


async def test_pushes_that_take_too_long_are_cut_off_and_wait(book: Book) -> None:
    slow, quick = stored(), stored()

    async def fault(campaign: CampaignSavedData) -> None:
        if campaign.campaign_id == slow.id:
            await asyncio.Event().wait()

    book.fault = fault
    pushes = [PushRequest(slow, "a"), PushRequest(quick, "b")]
    soon = asyncio.get_running_loop().time() + 0.05
    answers = await push_all(pushes, {"claude": book}, soon)
    assert isinstance(answers[slow.id], Snooze)
    assert not isinstance(answers[quick.id], Failure)


async def test_a_worker_that_wakes_when_its_time_is_over_begins_no_push(book: Book) -> None:
    campaigns = [stored() for _ in range(MAX_CONCURRENT_PUSHES + 1)]
    pushes = [PushRequest(campaign, "a") for campaign in campaigns]
    answers = await push_all(pushes, {"claude": book}, asyncio.get_running_loop().time())
    assert [type(answers[campaign.id]) for campaign in campaigns] == [Snooze] * len(campaigns)
    assert book.pushes == []


async def test_a_worker_that_is_frozen_while_it_waits_to_send_does_not_send_when_it_wakes(
    book: Book,
) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)  # noqa: FBT003 - as the socket has it

        async def fault(_: CampaignSavedData) -> None:
            # The answer that it waits for comes while it is frozen.
            loop.call_soon(theirs.send, b"go")
            loop.call_soon(time.sleep, 0.1)
            assert await loop.sock_recv(ours, 2) == b"go"

        book.fault = fault
        one = PushRequest(stored(), "a")
        answers = await push_all([one], {"claude": book}, loop.time() + 0.05)
    assert isinstance(answers[one.campaign.id], Snooze)
    assert book.pushes == []


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
        newest = replace(campaign, name="Winter", version=2, desired_version=2)
        await write(engine, newest)
        [event], _ = await synced(world, saved(newest))
        await write(engine, replace(newest, synced_version=2, platform_campaign_id="p-1"))
        thawed.set()
        [outcome] = await frozen
    assert event.data.version == 2
    assert book.campaigns[f"p-{campaign.id}"].name == "Autumn", "the old version did not come late"
    assert isinstance(outcome, SyncOutcome)
    assert outcome.event is None
    assert await outbox(engine) == ["campaign.sync_requested.v1.claude"]
    again = sync_request(campaign, source="urn:adrelay:sync", owner=None)
    assert len((await synced(world, again))[0]) == 1
    assert book.campaigns[f"p-{campaign.id}"].name == "Winter"
