"""What becomes of events that an upstream system publishes over AMQP: handled, or dead-lettered."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelAccessRefused
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignCreateRequested, CampaignDeleted, CampaignSaved, CampaignSyncRequested
from events.envelope import Event
from infra.amqp import topology
from infra.amqp.permissions import UPSTREAM_USER
from infra.errors import Permanent, Transient
from infra.messaging.context import Context
from infra.resources import Resources
from tests.infra.ledger import (
    QUEUE,
    body_of,
    consuming,
    create,
    depth,
    headers_of,
    report,
    take,
    until,
    write,
    written,
)
from tests.infra.parties import (
    CREATE,
    METRICS,
    OWNER,
    SOURCE,
    Party,
    create_command,
    party,
    register,
)

APPLY = "campaigns.apply"
LANE = "sync.claude"
LANE_EVENTS = (CampaignSaved, CampaignDeleted, CampaignSyncRequested)
DEAD = topology.dead_queue(QUEUE)
upstream = party(UPSTREAM_USER)


@pytest.fixture(autouse=True)
async def _registered(engine: AsyncEngine) -> None:
    await create(engine)
    await register(engine, SOURCE)


async def note(events: list[Any], ctx: Context) -> Sequence[Event]:
    await write(ctx.tx, events)
    return ()


async def test_an_event_for_the_own_source_takes_effect_and_a_foreign_one_is_dead(
    upstream: Party, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    foreign = report(2, source="urn:other:shop")
    for event in (report(1, source=SOURCE), foreign, report(3, source=SOURCE)):
        await upstream.publish(event, METRICS)
    async with consuming(resources, note):
        dead = await take(broker, DEAD)
        await until(lambda: _has(engine, 2))
    assert await written(engine) == ["e-1", "e-3"]
    assert body_of(dead)["id"] == "e-2"
    told = headers_of(dead)
    assert (told["error-class"], told["stage"], told["user"]) == (
        "UNVERIFIED_SOURCE",
        "authorize",
        UPSTREAM_USER,
    )
    assert told["reason"] == (
        "the user 'adrelay-upstream' of the broker may not speak for 'urn:other:shop'"
    )


@pytest.mark.parametrize(
    "source", ["urn:adrelay:webhook:claude", "urn:adrelay:api", "urn:adrelay:campaigns"]
)
async def test_nobody_speaks_for_us(
    upstream: Party, resources: Resources, broker: AbstractConnection, source: str
) -> None:
    await upstream.publish(report(1, source=source), METRICS)
    async with consuming(resources, note):
        assert headers_of(await take(broker, DEAD))["error-class"] == "UNVERIFIED_SOURCE"


async def test_an_event_that_nobody_has_signed_is_dead(
    upstream: Party, resources: Resources, broker: AbstractConnection
) -> None:
    await upstream.publish(report(1, source=SOURCE), METRICS, user_id=None)
    async with consuming(resources, note):
        told = headers_of(await take(broker, DEAD))
    assert told["error-class"] == "UNVERIFIED_SOURCE"
    assert told["reason"] == "it carries no user_id, so nobody knows who has published it"
    assert "user" not in told


async def test_a_command_is_made_for_the_publishers_owner_and_no_other(
    upstream: Party, resources: Resources, broker: AbstractConnection
) -> None:
    owners: dict[str, str | None] = {}

    async def grant(events: list[CampaignCreateRequested], _: Context) -> Sequence[Event]:
        owners.update({event.id: event.ownerid for event in events})
        return ()

    await upstream.publish(create_command(id="silent"), CREATE)
    await upstream.publish(create_command(id="own", ownerid=str(OWNER)), CREATE)
    await upstream.publish(create_command(id="foreign", ownerid=str(uuid4())), CREATE)
    events = (CampaignCreateRequested,)
    async with consuming(resources, grant, queue=APPLY, events=events):
        dead = await take(broker, topology.dead_queue(APPLY))
        await until(lambda: _are(owners, 2))
    assert owners == {"silent": str(OWNER), "own": str(OWNER)}
    assert body_of(dead)["id"] == "foreign"
    told = headers_of(dead)
    assert told["error-class"] == "UNVERIFIED_OWNER"
    assert told["reason"] == (f"ownerid: 'adrelay-upstream' may ask for campaigns of {OWNER} alone")


async def test_what_waits_in_the_ladder_comes_back_as_its_publishers(
    upstream: Party, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    tries: list[str] = []

    async def handle(events: list[Any], ctx: Context) -> Sequence[Event]:
        tries.extend(event.id for event in events)
        if tries.count("e-1") == 1:
            raise Transient("not yet", events=events)
        if tries.count("e-2"):
            raise Permanent("never", events=[event for event in events if event.id == "e-2"])
        return await note(events, ctx)

    await upstream.publish(report(1, source=SOURCE), METRICS)
    async with consuming(resources, handle):
        await until(lambda: _has(engine, 1))
        await upstream.publish(report(2, source=SOURCE), METRICS)
        told = headers_of(await take(broker, DEAD))
    assert tries == ["e-1", "e-1", "e-2"]
    assert told["user"] == UPSTREAM_USER


async def test_our_headers_written_by_upstream_change_nothing(
    upstream: Party, resources: Resources, broker: AbstractConnection
) -> None:
    forged = {"x-adrelay-user": "adrelay-workers", "x-adrelay-key": METRICS}
    await upstream.publish(report(1, source="urn:adrelay:api"), METRICS, headers=forged)
    async with consuming(resources, note):
        told = headers_of(await take(broker, DEAD))
    assert (told["error-class"], told["user"]) == ("UNVERIFIED_SOURCE", UPSTREAM_USER)


@pytest.mark.parametrize("header", ["CC", "BCC"])
async def test_a_copy_that_is_smuggled_to_another_key_takes_no_effect(
    upstream: Party,
    resources: Resources,
    broker: AbstractConnection,
    engine: AsyncEngine,
    header: str,
) -> None:
    data = {"campaign_id": OWNER, "version": 1, "platform": "claude"}
    fact = CampaignDeleted(source="urn:adrelay:campaigns", data=data)
    smuggled = {header: ["campaign.deleted.v1.claude"]}
    try:
        await upstream.publish(fact, METRICS, headers=smuggled)
        taken = True
    except ChannelAccessRefused:  # RabbitMQ 4 looks at the copies too
        taken = False
    async with consuming(resources, note, queue=LANE, events=LANE_EVENTS):
        if taken:
            dead = headers_of(await take(broker, topology.dead_queue(LANE)))
            assert dead["error-class"] == "UNKNOWN_TYPE"
        await until(lambda: _is_empty(broker, LANE))
    assert await written(engine) == []


async def _is_empty(broker: AbstractConnection, queue: str) -> bool:
    return await depth(broker, queue) == 0


async def _has(engine: AsyncEngine, lines: int) -> bool:
    return len(await written(engine)) >= lines


async def _are(found: dict[str, Any], count: int) -> bool:
    return len(found) >= count
