"""Begins and ends a restore: pauses, triggers for platforms, copies in Redis."""

from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events import CampaignDeleted, CampaignSaved
from events.campaigns import CampaignDeletedData
from events.envelope import Event
from events.sources import CAMPAIGNS_SOURCE
from infra.amqp import topology
from infra.amqp.message import build_message
from infra.messaging import outbox, outbox_keys
from infra.messaging.log_restore import READER
from infra.redis_errors import REDIS_ERRORS
from infra.storage import campaign_cache
from infra.storage.campaign_versions import take_unsynced
from infra.storage.campaigns import CampaignRow
from infra.storage.log_positions import delete_position
from infra.storage.pauses import PauseTarget, delete_pause, list_pauses, pause

PAUSED_BY = "adrelay restore"
REASON = "the database is restored from the event log"
TRIGGERS = 500  # that are written at a time
FIRST_ID = UUID(int=0)


async def pause_queues(tx: AsyncConnection) -> None:
    """Pause every work queue; those that a person has paused stay theirs."""
    for queue in topology.WORK_QUEUE_NAMES:
        await pause(tx, PauseTarget("queue", queue), reason=REASON, paused_by=PAUSED_BY)


async def resume_queues(tx: AsyncConnection) -> None:
    """Resume what ``pause_queues`` has paused."""
    for row in await list_pauses(tx):
        if row.paused_by == PAUSED_BY:
            await delete_pause(tx, row.target)


async def finish(engine: AsyncEngine) -> int:
    """Trigger the campaigns that their platforms do not have yet, then resume the queues.

    Returns how many campaigns that is. To repeat it is safe.
    """
    triggered = 0
    last = FIRST_ID
    while True:
        async with engine.begin() as tx:
            campaigns = await take_unsynced(tx, last, TRIGGERS)
            await outbox.add(tx, [build_message(build_trigger(row)) for row in campaigns])
            if not campaigns:
                await delete_position(tx, READER)
                await resume_queues(tx)
                return triggered
        last, triggered = campaigns[-1].id, triggered + len(campaigns)


def build_trigger(campaign: CampaignRow) -> Event:
    """Build the sync trigger of a campaign, as its own save or deletion was.

    Not a sync request: that is pushed under a key of its own, and a campaign whose creation reached
    the platform before the loss would be created twice.
    """
    about = {"source": CAMPAIGNS_SOURCE, "subject": str(campaign.id)}
    if campaign.deleted_at is None:
        return CampaignSaved(**about, data=campaign.desired_state())
    deleted = CampaignDeletedData(
        campaign_id=campaign.id,
        version=campaign.desired_version,
        platform=campaign.platform,
        platform_campaign_id=campaign.platform_campaign_id,
    )
    return CampaignDeleted(**about, data=deleted)


async def clear_copies(redis: Redis) -> bool:
    """Delete what Redis has of the lost database: cached campaigns, keys of outbox rows.

    Returns False where Redis does not do it; the copies then expire within an hour.
    """
    try:
        for prefix in (campaign_cache.PREFIX, outbox_keys.KEY):
            names = [name async for name in redis.scan_iter(f"{prefix}*", count=1000)]
            for start in range(0, len(names), 1000):
                await redis.unlink(*names[start : start + 1000])
        await redis.unlink(outbox_keys.ALL_KEYS_PRESENT)
    except REDIS_ERRORS:
        return False
    return True
