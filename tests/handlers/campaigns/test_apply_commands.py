import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.campaigns import get_campaign_id
from events.envelope import now
from handlers.campaigns.handlers import apply_commands, apply_platform_updates
from infra.errors import Permanent, Snooze, Transient
from infra.resources import Resources
from infra.storage.campaign_cache import get_campaign, put_campaigns
from infra.storage.campaigns import find_campaign, insert_campaigns
from infra.storage.operations import find_operation
from schemas.campaigns import Campaign
from schemas.operations import Operation
from tests.handlers.processing import handled
from tests.handlers.samples import (
    OWNER,
    START,
    STRANGER,
    after,
    create,
    delete,
    put,
    row,
    running,
    stored,
    synced,
    update,
)

LATE = START + timedelta(minutes=1)


async def operation(engine: AsyncEngine, operation_id: str) -> Operation:
    async with engine.connect() as tx:
        found = await find_operation(tx, operation_id)
    assert found is not None
    return found


async def until_blocked(engine: AsyncEngine) -> None:
    waiting = text(
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(10), engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        while not (await connection.execute(waiting)).scalar_one():
            await asyncio.sleep(0.02)


def types(events: Sequence[Any]) -> list[str]:
    return [event.routing_key for event in events]


async def test_a_created_campaign_is_saved_and_its_operation_done(
    resources: Resources, engine: AsyncEngine
) -> None:
    command = create(uuid4())
    [event] = await handled(resources, apply_commands, [command], LATE)
    assert event.routing_key == "campaign.saved.v1.claude"
    assert (event.source, event.causationid) == ("urn:adrelay:campaigns", command.id)
    assert (event.data.version, event.data.status, event.data.budget_micros) == (
        1,
        "active",
        1500000,
    )
    campaign_id = get_campaign_id(command)
    async with engine.connect() as tx:
        campaign = await find_campaign(tx, campaign_id)
    assert campaign == Campaign(
        id=campaign_id,
        name="Autumn",
        platform="claude",
        status="pending",
        budget="1.5",
        currency="USD",
        targeting={"interests": ["tea"], "age_range": [18, 65]},
        platform_campaign_id=None,
        version=1,
        owner_id=OWNER,
        created_at=LATE,
        updated_at=LATE,
        synced_at=None,
    )
    done = await operation(engine, command.id)
    assert done.state == "done"
    assert Campaign.model_validate(done.result) == campaign


async def test_a_saved_campaign_is_written_through_to_the_cache(
    resources: Resources, redis: Redis
) -> None:
    command = create(uuid4())
    await handled(resources, apply_commands, [command])
    cached = await get_campaign(redis, get_campaign_id(command))
    assert cached is not None
    assert cached.version == 1
    await handled(resources, apply_commands, [delete(cached.id)])
    assert await get_campaign(redis, cached.id) is None
    await put_campaigns(redis, [cached])
    assert await get_campaign(redis, cached.id) is None, "an older copy came back"


async def test_only_the_api_has_operations(resources: Resources, engine: AsyncEngine) -> None:
    command = create(uuid4(), source="urn:upstream:shop", id="op_look-alike")
    await handled(resources, apply_commands, [command])
    async with engine.connect() as tx:
        assert await find_operation(tx, command.id) is None


async def test_a_creation_without_an_id_makes_the_same_campaign_when_it_is_repeated(
    resources: Resources, engine: AsyncEngine
) -> None:
    command = create(source="urn:upstream:shop", id="order-1")
    [event] = await handled(resources, apply_commands, [command])
    assert await handled(resources, apply_commands, [command, command]) == []
    assert event.data.campaign_id == get_campaign_id(command)
    assert get_campaign_id(command) != get_campaign_id(
        create(source="urn:upstream:b", id="order-1")
    )
    assert (await row(engine, event.data.campaign_id)).version == 1


async def test_a_repeated_creation_with_another_content_or_owner_is_rejected(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign_id = uuid4()
    await handled(resources, apply_commands, [create(campaign_id)])
    others = [create(campaign_id, name="Winter"), create(campaign_id, owner=STRANGER)]
    events = await handled(resources, apply_commands, others)
    assert types(events) == ["campaign.command_rejected.v1"] * 2
    assert {event.data.code for event in events} == {"CONFLICT"}
    assert (await operation(engine, others[0].id)).state == "refused"
    assert (await row(engine, campaign_id)).name == "Autumn"


async def test_several_changes_of_one_campaign_in_a_batch_are_applied_in_order(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign_id = uuid4()
    commands = [
        create(campaign_id),
        update(campaign_id, name="Winter", expected_version=1),
        update(campaign_id, name="Winter"),
        update(campaign_id, status="paused", expected_version=2),
        update(campaign_id, budget="2.25", expected_version=1),
    ]
    events = await handled(resources, apply_commands, commands)
    assert types(events) == ["campaign.saved.v1.claude"] * 3 + ["campaign.command_rejected.v1"]
    assert [event.data.version for event in events[:3]] == [1, 2, 3]
    assert events[3].data.code == "VERSION_CONFLICT"
    campaign = await row(engine, campaign_id)
    assert (campaign.name, campaign.desired_status, campaign.version) == ("Winter", "paused", 3)
    assert campaign.budget_micros == 1_500_000
    results = [(await operation(engine, command.id)).result for command in commands[:4]]
    assert [result and result["version"] for result in results] == [1, 2, 2, 3]


async def test_a_change_that_changes_nothing_is_recorded_and_emits_nothing(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = stored()
    await put(engine, campaign)
    command = update(campaign.id, name="Autumn", budget="1.500000", status="active")
    assert await handled(resources, apply_commands, [command]) == []
    known = await row(engine, campaign.id)
    assert known.last_command is not None
    assert (known.last_command.id, known.last_command.version) == (command.id, campaign.version)
    assert replace(known, last_command=None) == campaign
    assert (await operation(engine, command.id)).state == "done"


async def test_campaigns_of_others_are_not_found_and_an_admin_finds_all(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = stored()
    await put(engine, campaign)
    commands = [
        update(campaign.id, owner=STRANGER, name="Mine"),
        delete(campaign.id, owner=STRANGER),
    ]
    events = await handled(resources, apply_commands, commands)
    assert [event.data.code for event in events] == ["NOT_FOUND", "NOT_FOUND"]
    error = (await operation(engine, commands[0].id)).error
    assert error is not None
    assert error.code == "NOT_FOUND"
    [event] = await handled(resources, apply_commands, [update(campaign.id, owner=None, name="X")])
    assert event.routing_key == "campaign.saved.v1.claude"


async def test_a_deleted_campaign_leaves_a_tombstone_that_rejects_late_changes(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    command = delete(campaign.id)
    [event] = await handled(resources, apply_commands, [command])
    assert event.routing_key == "campaign.deleted.v1.claude"
    assert event.data.platform_campaign_id == campaign.platform_campaign_id
    result = (await operation(engine, command.id)).result
    assert result is not None
    assert result["status"] == "deleted"
    late = [update(campaign.id, name="Zombie"), delete(campaign.id)]
    events = await handled(resources, apply_commands, late)
    assert [event.data.code for event in events] == ["NOT_FOUND", "NOT_FOUND"]
    assert (await row(engine, campaign.id)).deleted_at is not None
    async with engine.connect() as tx:
        assert await find_campaign(tx, campaign.id) is None


async def test_a_change_waits_for_the_creation_that_it_overtook_whatever_its_time_says(
    resources: Resources,
) -> None:
    campaign_id = uuid4()
    early = update(campaign_id, name="Winter", time=START - timedelta(days=300))
    neighbour = create(uuid4())
    with pytest.raises(Snooze) as failure:
        await handled(resources, apply_commands, [neighbour, early])
    assert failure.value.events == (early,)
    [_, event] = await handled(resources, apply_commands, [create(campaign_id), early])
    assert event.data.name == "Winter"


async def test_a_change_waits_for_its_creation_for_five_seconds_after_its_first_delivery(
    resources: Resources,
) -> None:
    at = now()
    command = update(uuid4(), name="Winter", time=at)
    with pytest.raises(Snooze):
        await handled(resources, apply_commands, [command], at, at - timedelta(seconds=4))
    first = at - timedelta(seconds=5)
    [event] = await handled(resources, apply_commands, [command], at, first)
    assert event.data.code == "NOT_FOUND"


async def test_in_a_batch_a_change_follows_its_creation_and_a_deletion_before_it_has_no_effect(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign_id = uuid4()
    commands = [
        update(campaign_id, name="Winter"),
        delete(campaign_id),
        update(campaign_id, budget="3"),
        create(campaign_id),
        update(campaign_id, status="paused"),
    ]
    events = await handled(resources, apply_commands, commands)
    assert types(events) == ["campaign.command_rejected.v1"] + ["campaign.saved.v1.claude"] * 4
    campaign = await row(engine, campaign_id)
    assert (
        campaign.name,
        campaign.budget_micros,
        campaign.desired_status,
        campaign.deleted_at,
    ) == (
        "Winter",
        3_000_000,
        "paused",
        None,
    )


async def test_a_campaign_that_is_created_after_its_deletion_exists(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign = running()
    await put(engine, campaign)
    again = create(campaign.id, name="Winter", currency="EUR")
    events = await handled(resources, apply_commands, [delete(campaign.id), again], LATE)
    assert types(events) == ["campaign.deleted.v1.claude", "campaign.saved.v1.claude"]
    known = await row(engine, campaign.id)
    assert (known.name, known.currency, known.status, known.deleted_at) == (
        "Winter",
        "EUR",
        "pending",
        None,
    )
    assert (known.version, known.created_at) == (campaign.version + 2, LATE)
    pushed = synced(campaign, version=3, status="deleted", at=after(9))
    assert await handled(resources, apply_platform_updates, [pushed]) == []
    assert (await row(engine, campaign.id)).status == "pending"


async def test_an_owner_that_is_no_account_id_fails_only_its_event(resources: Resources) -> None:
    wrong = create(uuid4()).model_copy(update={"ownerid": "nobody"})
    with pytest.raises(Permanent) as failure:
        await handled(resources, apply_commands, [create(uuid4()), wrong])
    assert failure.value.events == (wrong,)


async def test_of_two_concurrent_creations_of_one_campaign_the_second_is_retried(
    resources: Resources, engine: AsyncEngine
) -> None:
    campaign_id = uuid4()
    command = create(campaign_id, name="Second")

    async with engine.begin() as other:
        await insert_campaigns(other, [stored(id=campaign_id)])
        task = asyncio.create_task(handled(resources, apply_commands, [command]))
        await until_blocked(engine)
    with pytest.raises(Transient) as failure:
        await asyncio.wait_for(task, 10)
    assert failure.value.events == (command,)
