"""Campaigns pushed in their owner's name, with real handlers, tokens and sandbox."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text

from events import CampaignSynced, PlatformAccountConnected, PlatformAccountDisconnected
from events.platform_accounts import PlatformAccountConnectedData, PlatformAccountDisconnectedData
from handlers.auth.token_refresh import refresh_due_tokens
from handlers.sync.handlers import push_campaigns, sync_campaigns
from infra.errors import Snooze
from infra.platforms.results import AccountUnavailable
from infra.settings import Settings
from infra.storage.campaigns import CampaignRow
from tests.consent import Owner, Stage, open_stage
from tests.handlers.processing import handled
from tests.handlers.samples import put, saved, stored, sync_request
from tests.handlers.syncing import synced, tombstone


@pytest.fixture
async def stage(settings: Settings) -> AsyncIterator[Stage]:
    async with open_stage(settings, keeping=False) as stage:
        yield stage


@pytest.fixture
async def browser(stage: Stage) -> AsyncIterator[aiohttp.ClientSession]:
    async with stage.browser() as browser:
        yield browser


@pytest.fixture
async def owner(stage: Stage, browser: aiohttp.ClientSession) -> Owner:
    return await stage.register(browser)


async def pushed_by(stage: Stage, campaign: CampaignRow) -> list[str | None]:
    """List in whose name the campaign was sent to its platform, call by call."""
    calls = await stage.sandbox.calls(campaign.platform, reference=str(campaign.id))
    return [call["account"] for call in calls]


async def sql(stage: Stage, statement: str) -> None:
    async with stage.resources.engine.begin() as tx:
        await tx.execute(text(statement))


def connected(owner: Owner) -> PlatformAccountConnected:
    return PlatformAccountConnected(
        data=PlatformAccountConnectedData(platform="claude", user_id=owner.id)
    )


async def test_a_campaign_is_pushed_in_the_name_of_its_owner_where_the_account_is_connected(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.connect(browser, owner)
    mine, elsewhere = stored(owner_id=owner.id), stored(owner_id=owner.id, platform="gemini")
    others, nobodys = stored(), stored(owner_id=None)
    campaigns = (mine, elsewhere, others, nobodys)
    await put(stage.resources.engine, *campaigns)
    events, failures = await synced(stage.resources, *map(saved, campaigns))
    assert ([type(event) for event in events], failures) == ([CampaignSynced] * 4, [])
    names = [await pushed_by(stage, campaign) for campaign in campaigns]
    assert names == [["owner-1"], [None], [None], [None]]


async def test_a_connected_account_has_its_owners_campaigns_pushed_again(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    mine, second = stored(owner_id=owner.id), stored(owner_id=owner.id)
    gone = tombstone(stored(owner_id=owner.id))
    others, elsewhere = stored(), stored(owner_id=owner.id, platform="gemini")
    await put(stage.resources.engine, mine, second, gone, others, elsewhere)
    await stage.connect(browser, owner)
    [requests, failures] = await synced(stage.resources, connected(owner))
    assert failures == []
    assert {request.data.campaign_id for request in requests} == {mine.id, second.id}
    assert {request.routing_key for request in requests} == {"campaign.sync_requested.v1.claude"}
    await synced(stage.resources, *requests)
    assert await pushed_by(stage, mine) == await pushed_by(stage, second) == ["owner-1"]


async def test_events_about_an_account_that_is_no_longer_connected_cause_nothing(
    stage: Stage, owner: Owner
) -> None:
    campaign = stored(owner_id=owner.id)
    await put(stage.resources.engine, campaign)
    reason = PlatformAccountDisconnectedData(
        platform="claude", user_id=owner.id, reason="it is over"
    )
    account_event = [connected(owner), PlatformAccountDisconnected(data=reason)]
    assert await synced(stage.resources, *account_event) == ([], [])


async def test_hints_of_both_kinds_keep_their_order_in_a_batch(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.connect(browser, owner)
    campaign = stored(owner_id=owner.id)
    await put(stage.resources.engine, campaign)
    account_event = connected(owner)
    values: list[Any] = await push_campaigns(
        [account_event, saved(campaign), account_event], stage.resources
    )
    assert [value is account_event for value in values] == [True, False, True]
    events = await handled(stage.resources, sync_campaigns, values)
    assert [event.type for event in events] == [
        "campaign.synced.v1",
        "campaign.sync_requested.v1",
        "campaign.sync_requested.v1",
    ]


async def test_a_refused_token_is_renewed_and_only_its_owners_campaigns_wait(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    other = await stage.register(browser)
    await stage.connect(browser, owner)
    stage.sandbox.app.states["claude"].consents.accesses.clear()  # only this owner's
    await stage.connect(browser, other)
    mine, theirs = stored(owner_id=owner.id), stored(owner_id=other.id)
    await put(stage.resources.engine, mine, theirs)
    await sql(stage, "update platform_accounts set updated_at = now() - interval '2 minutes'")
    events, [failure] = await synced(stage.resources, saved(mine), saved(theirs))
    assert [event.data.campaign_id for event in events] == [theirs.id]
    assert isinstance(failure, AccountUnavailable)
    assert isinstance(failure, Snooze)  # it costs no attempt
    assert await refresh_due_tokens(stage.resources) == 1
    [event], failures = await synced(stage.resources, saved(mine))
    assert (event.data.campaign_id, failures) == (mine.id, [])
    assert (await pushed_by(stage, mine))[-1] == "owner-1"


async def test_a_fresh_token_that_is_refused_is_not_renewed_over_and_over(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.connect(browser, owner)
    await stage.sandbox.control("DELETE", "/claude/tokens")
    campaign = stored(owner_id=owner.id)
    await put(stage.resources.engine, campaign)
    _, [failure] = await synced(stage.resources, saved(campaign))
    assert isinstance(failure, AccountUnavailable)
    assert await refresh_due_tokens(stage.resources) == 0


async def test_after_a_consent_is_over_campaigns_are_pushed_in_our_own_name(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.connect(browser, owner)
    campaign = stored(owner_id=owner.id)
    await put(stage.resources.engine, campaign)
    await synced(stage.resources, saved(campaign))
    await stage.sandbox.control("DELETE", "/claude/consents")
    await sql(stage, "update platform_accounts set due_at = now()")
    assert await refresh_due_tokens(stage.resources) == 1
    _, failures = await synced(stage.resources, sync_request(campaign, owner=owner.id))
    assert failures == []
    calls = await stage.sandbox.calls("claude")
    assert [(call["outcome"], call["account"]) for call in calls] == [
        ("done", "owner-1"),
        ("replayed", None),
    ]


async def test_tokens_that_do_not_open_hold_up_their_owner_alone(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.connect(browser, owner)
    await sql(stage, "update platform_accounts set ciphertext = ciphertext || 'x'")
    mine, theirs = stored(owner_id=owner.id), stored()
    await put(stage.resources.engine, mine, theirs)
    events, [failure] = await synced(stage.resources, saved(mine), saved(theirs))
    assert [event.data.campaign_id for event in events] == [theirs.id]
    assert isinstance(failure, AccountUnavailable)
    assert await pushed_by(stage, mine) == []
