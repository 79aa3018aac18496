import asyncio
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.storage.campaign_changes import lock_campaigns, update_campaigns
from tests.handlers.samples import put, running, stored


async def test_batches_that_change_the_same_campaigns_take_turns(engine: AsyncEngine) -> None:
    campaigns = [stored() for _ in range(30)]
    await put(engine, *campaigns)
    ids = [campaign.id for campaign in campaigns]

    async def raise_budgets(wanted: list[UUID]) -> None:
        async with engine.begin() as tx:
            held = await lock_campaigns(tx, wanted)
            await update_campaigns(
                tx, [replace(c, budget_micros=c.budget_micros + 1) for c in held.values()]
            )

    await asyncio.gather(*(raise_budgets(ids if n % 2 else ids[::-1]) for n in range(8)))
    async with engine.begin() as tx:
        held = await lock_campaigns(tx, ids)
    assert {campaign.budget_micros for campaign in held.values()} == {1_500_008}


async def test_two_campaigns_cannot_have_one_id_at_a_platform(engine: AsyncEngine) -> None:
    first, second = running(), stored()
    await put(engine, first, second)
    taken = replace(second, platform_campaign_id=first.platform_campaign_id)
    with pytest.raises(DBAPIError, match="UniqueViolation"):
        async with engine.begin() as tx:
            await update_campaigns(tx, [taken])
