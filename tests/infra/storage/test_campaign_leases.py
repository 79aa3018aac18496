import asyncio
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from infra.storage.campaign_leases import Lease, release_leases, take_leases
from infra.storage.campaigns import lock_campaigns
from tests.handlers.samples import put, stored


async def take(engine: AsyncEngine, seconds: float, *ids: UUID) -> dict[UUID, Lease]:
    async with engine.begin() as tx:
        return await take_leases(tx, ids, seconds)


async def release(engine: AsyncEngine, *leases: Lease) -> set[UUID]:
    async with engine.begin() as tx:
        return await release_leases(tx, leases)


async def test_a_campaign_is_leased_to_one_worker_at_a_time(engine: AsyncEngine) -> None:
    first, second = stored(), stored()
    await put(engine, first, second)
    mine = await take(engine, 30, first.id, uuid4())
    assert mine.keys() == {first.id}
    assert (await take(engine, 30, first.id, second.id)).keys() == {second.id}
    assert await release(engine, mine[first.id]) == {first.id}
    assert (await take(engine, 30, first.id)).keys() == {first.id}


async def test_a_lease_that_another_worker_has_taken_is_lost(engine: AsyncEngine) -> None:
    campaign = stored()
    await put(engine, campaign)
    [frozen] = (await take(engine, 0.001, campaign.id)).values()
    async with asyncio.timeout(10):
        while not (taken := await take(engine, 30, campaign.id)):
            await asyncio.sleep(0.01)
    assert await release(engine, frozen) == set()
    assert await release(engine, *taken.values()) == {campaign.id}
    assert await release(engine, *taken.values()) == set()


async def test_an_expired_lease_that_no_worker_has_taken_is_not_lost(engine: AsyncEngine) -> None:
    campaign = stored()
    await put(engine, campaign)
    [lease] = (await take(engine, 0.001, campaign.id)).values()
    assert await release(engine, lease) == {campaign.id}


async def test_a_released_lease_leaves_its_end_in_the_row(engine: AsyncEngine) -> None:
    campaign = stored()
    await put(engine, campaign)
    [lease] = (await take(engine, 30, campaign.id)).values()
    await release(engine, lease)
    async with engine.begin() as tx:
        held = await lock_campaigns(tx, [campaign.id])
    assert held[campaign.id].leased_until is not None
