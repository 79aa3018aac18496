from dataclasses import replace
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.sync.handlers import push_campaigns
from infra.errors import Permanent
from infra.resources import Resources
from infra.storage.operations import find_operation
from tests.handlers.platform_state import Book
from tests.handlers.samples import (
    STRANGER,
    deleted,
    put,
    running,
    saved,
    stored,
    sync_request,
)
from tests.handlers.syncing import (
    leased,
    outbox,
    refusing,
    synced,
    tombstone,
    write,
)


async def test_a_saved_campaign_is_pushed_under_its_version_and_its_lease_released(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = stored()
    await put(engine, campaign)
    trigger = saved(campaign)
    [event], failures = await synced(world, trigger)
    assert failures == []
    assert event.routing_key == "campaign.synced.v1"
    assert event.causationid == trigger.id
    assert (event.data.version, event.data.status) == (1, "active")
    assert event.data.platform_campaign_id == f"p-{campaign.id}"
    assert book.pushes == [(campaign.desired_state(), f"{campaign.id}-1")]
    assert await leased(engine) == 0
    assert await outbox(engine) == []


async def test_what_is_pushed_is_the_newest_version_and_once_for_all_hints(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = stored()
    other = stored()
    newest = replace(campaign, name="Winter", version=3, desired_version=3)
    await put(engine, newest, other)
    triggers = [saved(campaign), saved(other), saved(newest), saved(campaign)]
    events, _ = await synced(world, *triggers)
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


async def test_a_refusal_of_the_platform_is_an_event_and_no_failure(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = stored()
    await put(engine, campaign)
    book.fault = refusing("policy")
    [event], failures = await synced(world, saved(campaign))
    assert failures == []
    assert event.routing_key == "campaign.sync_rejected.v1"
    assert (event.data.code, event.data.version) == ("policy", 1)


async def test_a_trigger_about_a_campaign_that_was_never_saved_is_dead(
    world: Resources, engine: AsyncEngine
) -> None:
    campaign = stored()
    await put(engine, campaign)
    strange = [saved(stored()), saved(replace(campaign, platform="gemini"))]
    _, failures = await synced(world, *strange)
    assert [type(failure) for failure in failures] == [Permanent, Permanent]


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


async def test_a_request_pushes_again_what_the_platform_holds_already(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = running()
    await put(engine, campaign)
    first, second = sync_request(campaign), sync_request(campaign)
    for request in (first, first, second):
        [event], _ = await synced(world, request)
        assert event.data.version == campaign.desired_version
        async with engine.connect() as tx:
            operation = await find_operation(tx, request.id)
        assert operation is not None
        assert operation.state == "done"
        assert operation.result == campaign.to_api().model_dump(mode="json")
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
