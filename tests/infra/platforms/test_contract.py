"""What every platform must do, tried on each line of PLATFORMS against the real sandbox."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any
from uuid import uuid4

import pytest

from events.campaigns import CampaignSavedData
from infra.deploy.secrets import make_secrets
from infra.errors import Failure, Snooze, Transient
from infra.messaging.retry_policy import RetryDecision, decide
from infra.platforms import PLATFORMS, AdPlatform, Rejected, open_platforms
from infra.sandbox.app import DIALECTS
from infra.settings import Settings
from infra.settings.platforms import PlatformSettings
from schemas import types
from schemas.campaigns import Targeting
from tests.sandbox import Playground, open_playground


@pytest.fixture(params=list(PLATFORMS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def sandbox() -> AsyncIterator[Playground]:
    async with open_playground() as playground:
        yield playground


@pytest.fixture
async def platform(sandbox: Playground, name: str) -> AsyncIterator[AdPlatform]:
    async with open_platforms(sandbox.settings) as platforms:
        yield platforms[name]


@pytest.fixture
def campaign(name: str) -> CampaignSavedData:
    return CampaignSavedData.model_validate(
        {
            "campaign_id": uuid4(),
            "version": 1,
            "platform": name,
            "name": "Winter « ☃ » 50% & more",
            "budget_micros": 1_234_560_000,
            "currency": "EUR",
            "targeting": Targeting(interests=("ski", "Après-Ski"), age_range=(18, 65)),
            "status": "active",
        }
    )


def changed(campaign: CampaignSavedData, **changes: Any) -> CampaignSavedData:
    return campaign.model_copy(update=changes)


def key_of(campaign: CampaignSavedData) -> str:
    return f"{campaign.campaign_id}/{campaign.version}"


async def push(platform: AdPlatform, campaign: CampaignSavedData) -> str:
    return (await platform.push(campaign, key_of(campaign))).platform_campaign_id


async def held(sandbox: Playground, campaign: CampaignSavedData) -> list[dict[str, Any]]:
    return await sandbox.campaigns(campaign.platform, reference=str(campaign.campaign_id))


def test_every_platform_has_a_client_and_a_sandbox() -> None:
    assert list(PLATFORMS) == list(DIALECTS) == list(types.PLATFORMS)


def test_every_platform_has_its_settings_and_secrets() -> None:
    parts = [field.name.removesuffix("s") for field in fields(PlatformSettings)]
    wanted = {f"{name}_{part}" for name in PLATFORMS for part in parts}
    made = {f"{name}_{part}".upper() for name in PLATFORMS for part in parts if "secret" in part}

    assert wanted - Settings.model_fields.keys() == set()
    assert made - make_secrets().keys() == set()


async def test_a_campaign_arrives_as_desired(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData
) -> None:
    pushed = await platform.push(campaign, "key")
    (found,) = await held(sandbox, campaign)
    assert (found["id"], found["status"]) == (pushed.platform_campaign_id, "active")
    assert pushed.status == "active"
    assert found["desired"] == {
        "name": campaign.name,
        "budget_micros": campaign.budget_micros,
        "currency": "EUR",
        "interests": ["ski", "Après-Ski"],
        "ages": [18, 65],
        "status": "active",
        "reference": str(campaign.campaign_id),
        "version": "1",
    }


async def test_a_change_and_a_pause_reach_the_campaign_that_is_there(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData
) -> None:
    there = await push(platform, campaign)
    second = changed(campaign, version=2, name="Spring", status="paused")
    pushed = await platform.push(changed(second, platform_campaign_id=there), "key-2")
    (found,) = await held(sandbox, campaign)
    assert (pushed.platform_campaign_id, pushed.status) == (there, "paused")
    assert (found["id"], found["desired"]["name"], found["status"]) == (there, "Spring", "paused")
    third = changed(second, version=3, status="active", platform_campaign_id=there)
    assert (await platform.push(third, "key-3")).status == "active"


async def test_many_pushes_at_once_make_one_campaign_with_one_token(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str
) -> None:
    found = await asyncio.gather(*(push(platform, campaign) for _ in range(20)))
    assert len(set(found)) == 1
    assert [c["pushes"] for c in await held(sandbox, campaign)] == [1]
    assert len(sandbox.app.states[name].tokens) == 1


@pytest.mark.parametrize("fault", ["lost_rate", "malformed"])
async def test_an_answer_that_is_lost_makes_no_second_campaign(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str, fault: str
) -> None:
    await sandbox.faults(name, **{fault: 1, "times": 1})
    with pytest.raises(Transient):
        await push(platform, campaign)
    (found,) = await held(sandbox, campaign)
    assert await push(platform, campaign) == found["id"]
    assert [c["pushes"] for c in await held(sandbox, campaign)] == [1]
    outcomes = [call["outcome"] for call in await sandbox.calls(name, action="create")]
    assert outcomes == ["done", "replayed"]


async def test_a_newer_version_reaches_a_campaign_whose_create_was_lost(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str
) -> None:
    await sandbox.faults(name, lost_rate=1, times=1)
    with pytest.raises(Transient):
        await push(platform, campaign)
    second = changed(campaign, version=2, name="Spring", status="paused")
    there = await push(platform, second)
    (found,) = await held(sandbox, campaign)
    assert (found["id"], found["desired"]["name"]) == (there, "Spring")
    assert (found["status"], found["desired"]["version"]) == ("paused", "2")


@pytest.mark.parametrize("lost", ["everything", "the campaign"])
async def test_a_campaign_that_the_platform_lost_is_created_once_more(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str, lost: str
) -> None:
    old = await push(platform, campaign)
    query = {"id": old} if lost == "the campaign" else {}
    await sandbox.control("DELETE", f"/{name}/campaigns", **query)
    second = changed(campaign, version=2, platform_campaign_id=old)
    found = [await push(platform, second) for _ in range(3)]
    assert len(set(found)) == 1
    assert [c["id"] for c in await held(sandbox, campaign)] == found[:1]


async def test_a_create_is_answered_alike_by_a_platform_that_lost_its_memory(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str
) -> None:
    old = await push(platform, campaign)
    await sandbox.control("DELETE", f"/{name}/campaigns")
    assert await push(platform, campaign) == old


async def test_a_deleted_campaign_is_gone_and_may_be_deleted_again(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData
) -> None:
    there = await push(platform, campaign)
    for key in ("key", "key", "other"):
        await platform.delete(there, key)
    await platform.delete("never-was", "key")
    assert await held(sandbox, campaign) == []


async def test_a_status_is_told_as_the_platform_holds_it_now(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str
) -> None:
    there = await push(platform, campaign)
    for status in ("active", "paused", "completed", "rejected"):
        sandbox.app.states[name].campaigns[there].status = status
        assert await platform.status(there) == status
    assert [call["status"] for call in await sandbox.calls(name, action="status")] == [200] * 4
    await platform.delete(there, "key")
    assert await platform.status(there) is None
    assert await platform.status("never-was") is None


async def test_a_question_waits_and_fails_as_a_push_does(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str
) -> None:
    there = await push(platform, campaign)
    await sandbox.faults(name, malformed=1, times=1)
    with pytest.raises(Transient):
        await platform.status(there)
    await sandbox.faults(name, rate_limit=0, retry_after=17)
    with pytest.raises(Snooze) as snooze:
        await platform.status(there)
    assert 16 < snooze.value.seconds <= 17


async def test_a_business_rule_is_a_refusal_in_the_platforms_words(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str
) -> None:
    await sandbox.faults(name, refuse_names=["Winter"])
    for _ in range(12):
        with pytest.raises(Rejected) as refusal:
            await push(platform, campaign)
    assert refusal.value.code.upper() == "POLICY_VIOLATION"
    assert refusal.value.message == "the name breaks the advertising policy"
    assert await push(platform, changed(campaign, name="Spring"))


async def test_a_platform_that_asks_for_patience_is_left_alone(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str
) -> None:
    await sandbox.faults(name, rate_limit=0, retry_after=17)
    for _ in range(3):
        with pytest.raises(Snooze) as snooze:
            await push(platform, campaign)
        assert 16 < snooze.value.seconds <= 17
    assert [call["status"] for call in await sandbox.calls(name)] == [429]


async def test_errors_are_transient_until_the_breaker_opens_and_a_probe_closes_it(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str
) -> None:
    await sandbox.faults(name, error_rate=1)
    for _ in range(4):
        with pytest.raises(Transient):
            await push(platform, campaign)
    for _ in range(3):
        with pytest.raises(Snooze):
            await push(platform, campaign)
    assert len(await sandbox.calls(name)) == 5
    await sandbox.control("DELETE", f"/{name}")
    assert await eventually(platform, campaign)


async def eventually(platform: AdPlatform, campaign: CampaignSavedData) -> str:
    async with asyncio.timeout(5):
        while True:
            try:
                return await push(platform, campaign)
            except Snooze:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("status", [400, 403, 503])
async def test_a_platform_that_asks_to_come_again_is_left_alone_whatever_its_status(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str, status: int
) -> None:
    await sandbox.faults(name, come_again=status, retry_after=17)
    for _ in range(3):
        with pytest.raises(Snooze) as snooze:
            await push(platform, campaign)
        assert 16 < snooze.value.seconds <= 17
    assert [call["status"] for call in await sandbox.calls(name)] == [status]


@pytest.mark.parametrize("fault", ["error_rate", "outage", "malformed", "lost_rate"])
async def test_an_outage_costs_a_lone_campaign_no_attempt(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str, fault: str
) -> None:
    await sandbox.faults(name, **{fault: 1})
    for _ in range(12):  # more than the attempts of the policy, and the breaker opens meanwhile
        with pytest.raises(Failure) as failure:
            await push(platform, campaign)
        decision = decide(failure.value, 0, 0, jitter=0)
        assert isinstance(decision, RetryDecision)
        assert (decision.attempt, decision.snoozed) == (0, True)


async def test_a_campaign_that_alone_gets_no_answer_spends_attempts(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str
) -> None:
    costs = []
    for _ in range(4):
        await sandbox.faults(name, error_rate=1, times=1)
        with pytest.raises(Failure) as failure:
            await push(platform, campaign)
        costs.append(not isinstance(failure.value, Snooze))
        for _ in range(2):
            await push(platform, changed(campaign, campaign_id=uuid4()))
    assert costs == [False, True, True, True]


async def test_an_outage_hits_one_platform_and_not_its_neighbours(
    sandbox: Playground, name: str, campaign: CampaignSavedData
) -> None:
    await sandbox.faults(name, outage=True)
    async with open_platforms(sandbox.settings) as platforms:
        for _ in range(8):
            with pytest.raises((Transient, Snooze)):
                await push(platforms[name], campaign)
        for other in set(platforms) - {name}:
            assert await push(platforms[other], changed(campaign, platform=other))


async def test_a_slow_platform_is_given_up_in_time(
    sandbox: Playground, name: str, campaign: CampaignSavedData
) -> None:
    await sandbox.faults(name, latency_ms=60_000)
    hasty = sandbox.settings.model_copy(update={"platform_timeout": 0.2})
    async with open_platforms(hasty) as platforms:
        with pytest.raises(Transient, match="no answer in time"):
            await push(platforms[name], campaign)


async def test_a_platform_that_is_not_there_is_transient(
    name: str, campaign: CampaignSavedData
) -> None:
    async with open_playground() as sandbox:
        settings = sandbox.settings
    async with open_platforms(settings) as platforms:
        with pytest.raises(Transient, match="no answer"):
            await push(platforms[name], campaign)


async def test_a_refused_token_is_renewed_once(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str
) -> None:
    there = await push(platform, campaign)
    await sandbox.control("DELETE", f"/{name}/tokens")
    second = changed(campaign, version=2, platform_campaign_id=there)
    assert await push(platform, second) == there
    assert [call["status"] for call in await sandbox.calls(name)] == [201, 401, 200]


async def test_refused_credentials_wait_for_a_person_and_say_no_secret(
    sandbox: Playground, platform: AdPlatform, campaign: CampaignSavedData, name: str
) -> None:
    await sandbox.faults(name, refuse_credentials=True)
    with pytest.raises(Snooze, match="refuses our credentials") as snooze:
        await push(platform, campaign)
    assert snooze.value.seconds == 60
    secret = sandbox.settings.platform(name).client_secret.get_secret_value()
    assert secret not in repr(snooze.value)
    assert await sandbox.calls(name) == []


async def test_a_wrong_secret_opens_nothing(
    sandbox: Playground, name: str, campaign: CampaignSavedData
) -> None:
    wrong = {f"{name}_client_id": "somebody else"}
    async with open_platforms(sandbox.settings.model_copy(update=wrong)) as platforms:
        with pytest.raises(Snooze, match="refuses our credentials"):
            await push(platforms[name], campaign)
