import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.storage.campaigns import (
    find_campaign,
    find_campaign_refs,
    insert_campaigns,
    list_campaigns,
    lock_campaigns,
    update_campaigns,
)
from schemas.types import Platform
from tests.handlers.samples import OWNER, START, STRANGER, after, put, running, stored


async def test_a_campaign_comes_back_as_it_was_written(engine: AsyncEngine) -> None:
    campaign = running(name="Größe 🚀 'quoted' \\ \"twice\"", deleted_at=after(1))
    young = stored()
    await put(engine, campaign, young)
    async with engine.begin() as tx:
        found = await lock_campaigns(tx, {campaign.id, young.id, uuid4()})
    assert found == {campaign.id: campaign, young.id: young}


async def test_of_two_rows_with_one_id_the_first_stays(engine: AsyncEngine) -> None:
    campaign, other = stored(), stored()
    await put(engine, campaign)
    async with engine.begin() as tx:
        new = await insert_campaigns(tx, [stored(id=campaign.id, name="Second"), other])
        held = await lock_campaigns(tx, [campaign.id])
    assert new == {other.id}
    assert held[campaign.id].name == "Autumn"


async def test_an_update_writes_what_may_change_and_keeps_what_may_not(engine: AsyncEngine) -> None:
    campaign = stored()
    await put(engine, campaign)
    changed = running(id=campaign.id, name="Winter", updated_at=after(1), desired_status="paused")
    forged = running(id=campaign.id, owner_id=STRANGER, platform="gemini")
    async with engine.begin() as tx:
        await update_campaigns(tx, [changed])
        assert await lock_campaigns(tx, [campaign.id]) == {campaign.id: changed}
        await update_campaigns(tx, [forged])
        kept = (await lock_campaigns(tx, [campaign.id]))[campaign.id]
    assert (kept.owner_id, kept.platform) == (OWNER, "claude")


async def test_a_tombstone_is_invisible_to_readers(engine: AsyncEngine) -> None:
    campaign, gone = running(), running(status="deleted", deleted_at=START)
    await put(engine, campaign, gone)
    async with engine.connect() as tx:
        assert await find_campaign(tx, campaign.id) == campaign.to_api()
        assert await find_campaign(tx, gone.id) is None
        assert await find_campaign(tx, uuid4()) is None
        assert await list_campaigns(tx, owner=None, page=1, per_page=10) == ([campaign.to_api()], 1)


async def test_pages_begin_with_the_newest_and_tell_how_many_there_are(engine: AsyncEngine) -> None:
    campaigns = [stored(created_at=START + timedelta(days=n), name=f"c{n}") for n in range(5)]
    await put(engine, *campaigns)
    async with engine.connect() as tx:
        first, total = await list_campaigns(tx, owner=OWNER, page=1, per_page=2)
        last, _ = await list_campaigns(tx, owner=OWNER, page=3, per_page=2)
        beyond = await list_campaigns(tx, owner=OWNER, page=9, per_page=2)
    assert ([c.name for c in first], total) == (["c4", "c3"], 5)
    assert [c.name for c in last] == ["c0"]
    assert beyond == ([], 5)


async def test_a_list_can_be_narrowed_to_an_owner_a_platform_and_a_status(
    engine: AsyncEngine,
) -> None:
    mine, theirs = running(), running(owner_id=STRANGER)
    pending = stored(platform="gemini")
    await put(engine, mine, theirs, pending)
    async with engine.connect() as tx:

        async def names(**wanted: Any) -> set[UUID]:
            fields: dict[str, Any] = {"owner": None, "page": 1, "per_page": 10}
            found, total = await list_campaigns(tx, **fields | wanted)
            assert len(found) == total
            return {campaign.id for campaign in found}

        assert await names() == {mine.id, theirs.id, pending.id}
        assert await names(owner=OWNER) == {mine.id, pending.id}
        assert await names(owner=OWNER, status="active") == {mine.id}
        assert await names(platform="gemini") == {pending.id}
        assert await names(platform="chatgpt") == set()


async def test_campaigns_are_found_by_our_ids_and_by_the_platforms(engine: AsyncEngine) -> None:
    known, new = running(platform_campaign_id="p-1"), stored()
    await put(engine, known, new)
    pairs: set[tuple[Platform, str]] = {("claude", "p-1"), ("gemini", "p-1"), ("claude", "p-2")}
    async with engine.begin() as tx:
        named = await find_campaign_refs(tx, {new.id, uuid4()}, pairs)
    assert {tuple(name) for name in named} == {
        (known.id, "claude", "p-1"),
        (new.id, "claude", None),
    }


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
