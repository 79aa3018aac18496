"""Sync workers driven as functions, and a look at what they leave behind."""

from dataclasses import replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.campaigns import CampaignSavedData
from handlers.sync.handlers import push_campaigns, sync_campaigns
from infra.errors import Failure
from infra.platforms import Rejected
from infra.resources import Resources
from infra.storage.campaigns import CampaignRow, update_campaigns
from tests.handlers.processing import handled
from tests.handlers.samples import START


async def synced(world: Resources, *hints: Any) -> tuple[list[Any], list[Failure]]:
    """Prepare and handle hints; gives the events caused, and the failures of single hints."""
    values = await push_campaigns(list(hints), world)
    failures = [value for value in values if isinstance(value, Failure)]
    ready = [value for value in values if not isinstance(value, Failure)]
    return await handled(world, sync_campaigns, ready), failures


async def write(engine: AsyncEngine, campaign: CampaignRow) -> None:
    """Write a campaign that is there."""
    async with engine.begin() as tx:
        await update_campaigns(tx, [campaign])


async def expire_leases(engine: AsyncEngine) -> None:
    """Let every lease run out, and its holder lose it."""
    async with engine.begin() as tx:
        await tx.execute(text("update campaigns set leased_until = now() - interval '1 second'"))


async def leased(engine: AsyncEngine) -> int:
    """Count the campaigns that are being pushed."""
    async with engine.connect() as tx:
        query = "select count(*) from campaigns where leased_until > clock_timestamp()"
        return int((await tx.execute(text(query))).scalar_one())


async def outbox(engine: AsyncEngine) -> list[str]:
    """List the routing keys of what waits to be published."""
    async with engine.connect() as tx:
        rows = await tx.execute(text("select routing_key from outbox order by id"))
        return [row[0] for row in rows]


def refusing(code: str) -> Any:
    """Make a platform refuse every push."""

    async def fault(_: CampaignSavedData) -> None:
        raise Rejected(code, "not allowed here")

    return fault


def failing(error: Exception, *failing_campaigns: CampaignRow) -> Any:
    """Make pushes fail: of the given campaigns, or all."""
    ids = {campaign.id for campaign in failing_campaigns}

    async def fault(campaign: CampaignSavedData) -> None:
        if not ids or campaign.campaign_id in ids:
            raise error

    return fault


def tombstone(campaign: CampaignRow) -> CampaignRow:
    """Make what is left of a campaign once its owner has deleted it."""
    version = campaign.version + 1
    return replace(
        campaign, status="deleted", deleted_at=START, version=version, desired_version=version
    )
