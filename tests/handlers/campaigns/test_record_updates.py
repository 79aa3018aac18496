from datetime import timedelta

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from handlers.campaigns.handlers import apply_commands, apply_platform_updates
from infra.errors import Permanent, Transient
from infra.resources import Resources
from infra.storage.campaign_cache import get_campaign
from tests.handlers.processing import handled
from tests.handlers.samples import (
    START,
    after,
    put,
    rejected,
    row,
    running,
    status,
    stored,
    synced,
    update,
)

LATE = START + timedelta(minutes=1)


async def test_a_synced_campaign_runs_under_its_platform_id(
    resources: Resources, engine: AsyncEngine, redis: Redis
) -> None:
    campaign = stored()
    await put(engine, campaign)
    event = synced(campaign, at=after(1), platform_campaign_id="p-1")
    [change] = await handled(resources, apply_platform_updates, [event], LATE)
    assert (change.data.status, change.data.previous, change.data.version) == (
        "active",
        "pending",
        2,
    )
    assert change.causationid == event.id
    known = await row(engine, campaign.id)
    assert (known.status, known.version, known.desired_version) == ("active", 2, 1)
    assert (known.synced_version, known.platform_campaign_id) == (1, "p-1")
    assert (known.synced_at, known.updated_at) == (after(1), LATE)
    cached = await get_campaign(redis, campaign.id)
    assert cached == known.to_api()


async def test_a_repeated_push_writes_nothing_and_emits_nothing(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = stored()
    await put(engine, campaign)
    event = synced(campaign)
    await handled(resources, apply_platform_updates, [event])
    before = await row(engine, campaign.id)
    assert await handled(resources, apply_platform_updates, [event, event]) == []
    assert await row(engine, campaign.id) == before


async def test_an_older_version_that_comes_after_a_newer_one_causes_another_push(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running(version=7, desired_version=6, synced_version=6)
    await put(engine, campaign)
    event = synced(campaign, version=5, at=after(9))
    [request] = await handled(resources, apply_platform_updates, [event])
    assert request.routing_key == "campaign.sync_requested.v1.claude"
    assert request.data.campaign_id == campaign.id
    assert await row(engine, campaign.id) == campaign


async def test_a_rejected_push_rejects_the_campaign_until_its_owner_changes_it(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = stored()
    await put(engine, campaign)
    [change] = await handled(resources, apply_platform_updates, [rejected(campaign, at=after(1))])
    assert change.data.status == "rejected"
    await handled(resources, apply_commands, [update(campaign.id, name="Nicer")])
    changed = await row(engine, campaign.id)
    assert (changed.status, changed.desired_version) == ("pending", 3)
    late = rejected(campaign, at=after(2))
    assert await handled(resources, apply_platform_updates, [late]) == []
    [change] = await handled(resources, apply_platform_updates, [synced(changed, at=after(3))])
    assert change.data.status == "active"


async def test_the_newest_reported_status_wins(resources: Resources, engine: AsyncEngine) -> None:
    campaign = running()
    await put(engine, campaign)
    reports = [status(campaign, "paused", after(5)), status(campaign, "active", after(3))]
    [change] = await handled(resources, apply_platform_updates, reports)
    assert (change.data.status, change.causationid) == ("paused", reports[0].id)
    assert (
        await handled(resources, apply_platform_updates, [status(campaign, "active", after(4))])
        == []
    )
    assert (await row(engine, campaign.id)).version == campaign.version + 1


async def test_statuses_of_one_time_change_nothing_until_the_platform_has_been_asked(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    reports = [
        status(campaign, reported, after(5)) for reported in ("paused", "completed", "active")
    ]
    change, trigger = await handled(resources, apply_platform_updates, reports)
    assert (change.data.status, change.causationid) == ("paused", reports[0].id)
    assert trigger.routing_key == "campaign.status_check_requested.v1.claude"
    assert trigger.data.platform_campaign_id == campaign.platform_campaign_id
    answer = status(campaign, "active", after(5)).model_copy(update={"source": "urn:adrelay:sync"})
    [change] = await handled(resources, apply_platform_updates, [answer])
    assert (change.data.status, change.data.previous) == ("active", "paused")


async def test_a_report_without_a_time_counts_from_its_receipt(resources: Resources) -> None:
    campaign = running()
    await put(resources.engine, campaign)
    report = status(campaign, "paused", None, time=after(2))
    assert len(await handled(resources, apply_platform_updates, [report])) == 1
    assert (
        await handled(resources, apply_platform_updates, [status(campaign, "active", after(1))])
        == []
    )


async def test_a_report_may_come_in_one_batch_with_the_push_it_overtook(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = stored()
    await put(engine, campaign)
    named = stored(id=campaign.id, platform_campaign_id="p-9")
    batch = [status(named, "paused", after(9)), synced(named, at=after(1))]
    [change] = await handled(resources, apply_platform_updates, batch)
    assert (change.data.status, change.data.previous) == ("paused", "pending")


async def test_a_report_about_an_unknown_campaign_waits_ten_minutes_at_most(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    stranger = status(running(), "paused", after(1))
    elsewhere = status(stored(platform="gemini", platform_campaign_id="x"), "paused", after(1))
    batch = [stranger, status(campaign, "paused", after(1)), elsewhere]
    with pytest.raises(Transient) as failure:
        await handled(resources, apply_platform_updates, batch)
    assert failure.value.events == (stranger, elsewhere)
    assert failure.value.within == 600
    assert await row(engine, campaign.id) == campaign


async def test_a_push_of_an_unsaved_version_and_a_report_from_the_future_are_dead_lettered(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    wrong = [synced(campaign, version=99), synced(stored()), synced(campaign, platform="gemini")]
    future = status(campaign, "paused", now() + timedelta(minutes=6))
    for failing in (wrong, [future]):
        with pytest.raises(Permanent) as failure:
            await handled(resources, apply_platform_updates, [*failing, synced(campaign)])
        assert list(failure.value.events) == failing


async def test_a_deleted_campaign_stays_deleted(resources: Resources, engine: AsyncEngine) -> None:
    campaign = running(status="deleted", deleted_at=START, desired_version=3, version=3)
    await put(engine, campaign)
    updates = [
        status(campaign, "active", after(5)),
        synced(campaign, version=2, at=after(6)),
        rejected(campaign, at=after(7)),
        synced(campaign, status="deleted", at=after(8)),
    ]
    assert await handled(resources, apply_platform_updates, updates) == []
    known = await row(engine, campaign.id)
    assert (known.status, known.synced_version) == ("deleted", 3)
