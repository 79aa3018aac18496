"""Campaigns in Redis: the newest version stays, a failure is a miss."""

import socket
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from pydantic import SecretStr
from redis.asyncio import Redis

from infra.settings import Settings
from infra.storage.campaign_cache import get_campaign, put_campaigns
from infra.storage.redis import open_redis
from schemas.campaigns import Campaign, CampaignStatus, Targeting


def campaign(campaign_id: UUID, version: int, status: CampaignStatus = "active") -> Campaign:
    moment = datetime(2026, 11, 22, 8, 0, 0, 123456, tzinfo=UTC)
    return Campaign(
        id=campaign_id,
        name=f"version {version}",
        platform="claude",
        status=status,
        budget=Decimal("12.50"),
        currency="EUR",
        targeting=Targeting(interests=("tea",), age_range=(18, 65)),
        platform_campaign_id=None,
        version=version,
        owner_id=uuid4(),
        created_at=moment,
        updated_at=moment,
        synced_at=None,
    )


async def test_a_campaign_is_read_as_it_was_written(redis: Redis) -> None:
    written = campaign(uuid4(), 1)
    await put_campaigns(redis, [written])
    assert await get_campaign(redis, written.id) == written


async def test_a_copy_expires_after_an_hour(redis: Redis) -> None:
    written = campaign(uuid4(), 1)
    await put_campaigns(redis, [written])
    assert 3590 < await redis.ttl(f"campaign:{written.id}") <= 3600


async def test_an_older_version_does_not_replace_a_newer_one(redis: Redis) -> None:
    campaign_id = uuid4()
    await put_campaigns(redis, [campaign(campaign_id, 10)])
    await put_campaigns(redis, [campaign(campaign_id, 9)])
    found = await get_campaign(redis, campaign_id)
    assert found is not None
    assert found.version == 10


async def test_many_campaigns_are_written_at_once(redis: Redis) -> None:
    written = [campaign(uuid4(), number + 1) for number in range(300)]
    await put_campaigns(redis, written)
    assert [await get_campaign(redis, each.id) for each in written] == written


async def test_a_deleted_campaign_is_missing_and_an_older_copy_does_not_restore_it(
    redis: Redis,
) -> None:
    campaign_id = uuid4()
    await put_campaigns(redis, [campaign(campaign_id, 1)])
    await put_campaigns(redis, [campaign(campaign_id, 3, "deleted")])
    await put_campaigns(redis, [campaign(campaign_id, 2)])
    assert await get_campaign(redis, campaign_id) is None


async def test_an_unknown_campaign_is_a_miss(redis: Redis) -> None:
    assert await get_campaign(redis, uuid4()) is None


async def test_an_unreadable_copy_is_a_miss_and_is_replaced(redis: Redis) -> None:
    written = campaign(uuid4(), 2)
    await redis.set(f"campaign:{written.id}", b"1 {}")
    assert await get_campaign(redis, written.id) is None
    await put_campaigns(redis, [written])
    assert await get_campaign(redis, written.id) == written


async def test_without_redis_reads_miss_and_writes_are_dropped() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = SecretStr(f"redis://127.0.0.1:{unused.getsockname()[1]}/0")
        redis = open_redis(Settings(redis_url=url))
        written = campaign(uuid4(), 1)
        await put_campaigns(redis, [written])
        assert await get_campaign(redis, written.id) is None
        await redis.aclose()
