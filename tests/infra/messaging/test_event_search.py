"""Where an event is: handled, duplicate, waiting, dead, replayed, in the outbox, and why."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignMetricsRecorded, CampaignSynced
from events.campaigns import CampaignSyncedData
from events.envelope import Event, now
from events.metrics import CampaignMetricsRecordedData
from events.sources import METRICS_SOURCE, SYNC_SOURCE
from infra.amqp import topology
from infra.amqp.message import build_message
from infra.amqp.permissions import UPSTREAM_USER, WORKERS_USER
from infra.errors import Permanent, Snooze, Transient
from infra.messaging import outbox
from infra.messaging.context import Context
from infra.messaging.decoder import event_key
from infra.messaging.event_search import EventQuery, parse_cursor
from infra.messaging.headers import DOOR
from infra.messaging.outbox_relay import relay_once
from infra.messaging.replay import ReplayOptions, replay
from infra.resources import Resources
from infra.storage.dead_letters import find_dead_letters
from infra.storage.pauses import PauseTarget, pause
from schemas.events import QueueOutcome
from tests.infra.commands.test_dead_letters import filing_dead_letters
from tests.infra.indexing import find_outcome, indexed, indexing, search
from tests.infra.ledger import QUEUE, consuming, create, publish, report, until
from tests.infra.messaging.test_consumer import note
from tests.infra.parties import METRICS, Party, party, register

upstream = party(UPSTREAM_USER)

SKIP = text("""
    insert into skipped_triggers (queue, key, account, type, source, subject, body)
    values (:queue, :key, 'a', 't', 's', 'c', '')
""")


@pytest.fixture(autouse=True)
async def _ledger(engine: AsyncEngine) -> None:
    await create(engine)


def new_report(**fields: Any) -> Any:
    """Make an event with an id that no other test uses."""
    return report(1, **{"id": uuid4().hex} | fields)


async def test_a_handled_event_tells_its_door_and_the_times_between_its_steps(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event = new_report(subject="c-1")
    async with indexing(resources), consuming(resources, note):
        await publish(broker, event)
        outcome = await find_outcome(engine, event.id, lambda one: one.state == "handled")
        await indexed(engine, event.id)
    found = await search(engine, EventQuery("id", event.id))
    (shown,) = found.events
    assert (shown.source, shown.type, shown.subject) == ("urn:test", event.type, "c-1")
    assert [one.door for one in shown.accepted] == [f"amqp user={WORKERS_USER}"]
    assert [one.how for one in shown.accepted] == ["confirmed"]
    assert outcome.queue == QUEUE
    assert [step.step.partition(":")[0] for step in shown.steps] == [
        "accepted (confirmed)",
        "handled",
    ]
    assert [step.seconds is None for step in shown.steps] == [True, False]
    assert found.index.lag_seconds is not None
    assert found.index.lag_seconds < 60


async def test_an_event_is_found_before_the_index_has_it_and_the_answer_says_how_far_that_is(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event = new_report()
    await register(engine, "urn:test")  # the inbox has only hashes
    async with consuming(resources, note):
        await publish(broker, event)
        await find_outcome(engine, event.id, lambda one: one.state == "handled")
    found = await search(engine, EventQuery("id", event.id))
    assert found.events[0].accepted == ()
    assert found.index.complete_until is None


async def test_an_event_that_is_accepted_twice_has_a_duplicate(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event = new_report()
    async with indexing(resources), consuming(resources, note):
        await publish(broker, event, event)
        await indexed(engine, event.id, 2)
        outcome = await find_outcome(engine, event.id, lambda one: one.state == "handled")
    assert outcome.duplicates == 1
    (shown,) = (await search(engine, EventQuery("id", event.id))).events
    assert len(shown.accepted) == 2


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (Transient("no campaign has this id yet", code="UNKNOWN_CAMPAIGN"), "retried", None),
        (Snooze("the platform is down", 30), "snoozed", "SNOOZE"),
        (ValueError("secret"), "retried", "ValueError"),
    ],
    ids=["retried", "snoozed", "bug"],
)
async def test_a_waiting_event_tells_its_tier_until_when_and_why(
    resources: Resources,
    broker: AbstractConnection,
    engine: AsyncEngine,
    error: Exception,
    kind: str,
    code: str | None,
) -> None:
    event = new_report()

    async def fail(_: list[Any], __: Context) -> Sequence[Event]:
        raise error

    async with indexing(resources), consuming(resources, fail):
        await publish(broker, event)
        await indexed(engine, event.id)
        outcome = await find_outcome(
            engine, event.id, lambda one: one.state == "waiting" and one.tier != "1s"
        )
    assert (outcome.kind, outcome.code) == (kind, code or "UNKNOWN_CAMPAIGN")
    assert outcome.until is not None
    assert outcome.at is not None
    wait = timedelta(seconds=topology.RETRY_TIERS[str(outcome.tier)])
    assert abs(outcome.until - outcome.at - wait) < timedelta(seconds=2)
    assert "secret" not in str(outcome.reason)


async def test_a_dead_event_tells_why_and_a_replay_shows_until_it_is_handled(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event = new_report()

    async def refuse(_: list[Any], __: Context) -> Sequence[Event]:
        raise Permanent("not today", code="NOT_TODAY")

    async with indexing(resources), filing_dead_letters(resources):
        async with consuming(resources, refuse):
            await publish(broker, event)
            dead = await find_outcome(engine, event.id, lambda one: one.state == "dead")
        await indexed(engine, event.id)
        assert (dead.code, dead.reason, dead.attempts) == ("NOT_TODAY", "not today", 1)
        (letter,) = dead.dead_letters
        assert (letter.state, letter.stage) == ("open", "handler")
        async with engine.begin() as tx:
            heads = await find_dead_letters(tx, letter.id, letter.id)
            assert await replay(tx, heads, "ada", resources.settings, ReplayOptions()) == []
        waits = await find_outcome(engine, event.id, lambda one: one.state == "outbox")
        assert waits.dead_letters[0].state == "replayed"
        async with consuming(resources, note):
            await relay_once(resources)
            done = await find_outcome(engine, event.id, lambda one: one.state == "handled")
    assert (done.dead_letters[0].state, done.dead_letters[0].acted_by) == ("replayed", "ada")
    (shown,) = (await search(engine, EventQuery("id", event.id))).events
    steps = [step.step.split(" ")[0].rstrip(":") for step in shown.steps]
    assert steps == ["accepted", "dead-lettered", "replayed", "handled"]


async def test_bytes_that_are_no_event_are_found_by_their_message_id(
    resources: Resources, upstream: Party, engine: AsyncEngine
) -> None:
    name = uuid4().hex
    async with indexing(resources), filing_dead_letters(resources), consuming(resources, note):
        await upstream.publish(b"\xff{", METRICS, message_id=name)
        dead = await find_outcome(engine, name, lambda one: one.state == "dead")
        await indexed(engine, name)
    assert dead.code == "INVALID_EVENT"
    (shown,) = (await search(engine, EventQuery("id", name))).events
    assert shown.source == ""
    assert shown.accepted[0].door == f"amqp user={UPSTREAM_USER}"


def has_died(times: int, outcome: QueueOutcome) -> bool:
    return outcome.state == "dead" and len(outcome.dead_letters) == times


async def test_what_has_no_id_and_dies_again_after_a_replay_is_told_as_dead(
    resources: Resources, upstream: Party, engine: AsyncEngine
) -> None:
    name = uuid4().hex
    async with indexing(resources), filing_dead_letters(resources), consuming(resources, note):
        await upstream.publish(b"\xff{", METRICS, message_id=name)
        for number in (1, 2, 3):
            dead = await find_outcome(engine, name, partial(has_died, number))
            letter = dead.dead_letters[-1]
            async with engine.begin() as tx:
                heads = await find_dead_letters(tx, letter.id, letter.id)
                await replay(tx, heads, "ada", resources.settings, ReplayOptions())
            await relay_once(resources)
        assert [one.state for one in dead.dead_letters] == ["replayed", "replayed", "open"]
        forged = f"replay:{letter.id}:3"  # by somebody who has seen the id
        await upstream.publish(b"\xff{", METRICS, message_id=forged)
        await find_outcome(engine, forged, partial(has_died, 2))
        await find_outcome(engine, name, partial(has_died, 4))


async def test_an_event_in_the_outbox_says_so_before_and_after_it_is_published(
    resources: Resources, engine: AsyncEngine
) -> None:
    event = new_report()
    async with engine.begin() as tx:
        await outbox.add(tx, [build_message(event)])
    outcome = await find_outcome(engine, event.id, lambda one: one.state == "outbox")
    assert outcome.queue == QUEUE
    async with indexing(resources):
        await relay_once(resources)
        (row,) = await indexed(engine, event.id)
    (shown,) = (await search(engine, EventQuery("id", event.id))).events
    assert [one.how for one in shown.accepted] == ["outbox"]
    assert shown.accepted[0].at == row["accepted_at"] < now()
    assert [one.state for one in shown.queues] == ["queued"]


async def test_an_event_in_a_paused_queue_tells_the_reason(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event = new_report()
    async with engine.begin() as tx:
        await pause(tx, PauseTarget("queue", QUEUE), reason="a fix comes", paused_by="ada")
    async with indexing(resources):
        await publish(broker, event)
        outcome = await find_outcome(engine, event.id, lambda one: one.state == "paused")
    assert outcome.reason == "a fix comes"


def synced(cause: Event) -> CampaignSynced:
    """Answer as a platform does."""
    data = CampaignSyncedData(
        campaign_id=uuid4(), version=3, platform="claude", platform_campaign_id="p", status="active"
    )
    return CampaignSynced.caused_by(cause, source=SYNC_SOURCE, subject="c-9", data=data)


def recorded(cause: Event) -> CampaignMetricsRecorded:
    """Record as the metrics worker does."""
    data = CampaignMetricsRecordedData(
        campaign_id=uuid4(),
        platform="claude",
        date=now().date(),
        impressions=1,
        clicks=0,
        conversions=0,
        spend_micros=0,
        events=(cause.id,),
    )
    return CampaignMetricsRecorded.caused_by(cause, source=METRICS_SOURCE, data=data)


async def test_what_an_event_caused_is_a_tree_down_to_the_platforms_answer(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event = new_report(correlationid=uuid4().hex)

    async def cause(events: list[Any], _: Context) -> Sequence[Event]:
        first = recorded(events[0])
        return [first, synced(first)]

    async with indexing(resources), consuming(resources, cause):
        await publish(broker, event)

        async def is_published() -> bool:
            return await relay_once(resources) > 0

        await until(is_published)
        await indexed(engine, "c-9")
    (root,) = (await search(engine, EventQuery("id", event.id))).events
    (first,) = root.caused
    (second,) = first.caused
    assert first.type == "campaign.metrics_recorded.v1"
    assert second.result is not None
    assert second.result["platform_campaign_id"] == "p"
    assert [one.queue for one in second.queues] == ["campaigns.record"]
    assert second.accepted[0].how == "outbox"
    chain = await search(engine, EventQuery("correlation", str(event.correlationid)))
    assert [one.id for one in chain.events] == [event.id]
    assert chain.events[0].caused[0].caused[0].id == second.id


async def test_events_of_the_same_id_and_another_source_are_told_apart(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event, other = new_report(), new_report()
    other = other.model_copy(update={"id": event.id, "source": "urn:other"})
    async with indexing(resources), consuming(resources, note):
        await publish(broker, event, other)
        async with engine.begin() as tx:
            await outbox.add(tx, [build_message(recorded(event))])
        await relay_once(resources)
        await indexed(engine, event.id, 2)

        async def has_caused() -> bool:
            found = await search(engine, EventQuery("id", event.id, "urn:test"))
            return bool(found.events and found.events[0].caused)

        await until(has_caused)
    found = await search(engine, EventQuery("id", event.id))
    assert {one.source: len(one.caused) for one in found.events} == {
        "urn:other": 0,
        "urn:test": 1,
    }
    limited = EventQuery("id", event.id, sources=frozenset({"urn:other"}))
    assert [one.source for one in (await search(engine, limited)).events] == ["urn:other"]


async def test_a_list_continues_where_it_ended(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    subject = uuid4().hex
    events = [new_report(subject=subject) for _ in range(5)]
    async with indexing(resources):
        for event in events:
            await publish(broker, event)
        await indexed(engine, subject, 5)
    seen: list[str | None] = []
    found = await search(engine, EventQuery("subject", subject, limit=2))
    while True:
        seen += reversed([one.id for one in found.events])
        if found.next is None:
            break
        after = parse_cursor(found.next)
        found = await search(engine, EventQuery("subject", subject, after=after, limit=2))
    assert seen == [event.id for event in reversed(events)]


@pytest.mark.parametrize(
    "cursor", ["", "-", "1", "a-1", "1-a", "²-1", "9" * 30 + "-1", "1-" + "9" * 19]
)
def test_a_place_in_a_list_that_was_never_given_is_rejected(cursor: str) -> None:
    with pytest.raises(ValueError, match="must be the next"):
        parse_cursor(cursor)


async def test_a_campaign_is_found_by_what_its_events_say(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    campaign_id = str(uuid4())
    data = report(1).data.model_dump(mode="json") | {"campaign_id": campaign_id}
    del data["platform_campaign_id"]
    event = new_report(data=data)
    async with indexing(resources):
        await publish(broker, event)
        await indexed(engine, event.id)
    found = await search(engine, EventQuery("campaign", campaign_id.upper()))
    assert [one.id for one in found.events] == [event.id]


async def test_a_database_that_is_locked_delays_no_retry(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    tries: list[int] = []

    async def fail(_: list[Any], __: Context) -> Sequence[Event]:
        tries.append(1)
        raise Transient("again")

    async with engine.begin() as tx, consuming(resources, fail):
        await tx.execute(text("lock table waiting_events in access exclusive mode"))
        await publish(broker, new_report())

        async def is_tried_again() -> bool:
            return len(tries) > 1

        await until(is_tried_again)


async def test_a_trigger_that_an_account_has_skipped_shows_until_the_account_is_resumed(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    event = new_report()
    async with indexing(resources), consuming(resources, note):
        await publish(broker, event)
        await find_outcome(engine, event.id, lambda one: one.state == "handled")
        async with engine.begin() as tx:
            await tx.execute(SKIP, {"queue": QUEUE, "key": event_key(event)})
        outcome = await find_outcome(engine, event.id, lambda one: one.state == "paused")
    assert "account" in str(outcome.reason)


async def test_a_dead_letter_keeps_its_door(resources: Resources, engine: AsyncEngine) -> None:
    event = new_report()

    async def refuse(_: list[Any], __: Context) -> Sequence[Event]:
        raise Permanent("not today")

    message = build_message(event)._replace(headers={DOOR: "http POST /api/v1/events key=1"})
    async with filing_dead_letters(resources), consuming(resources, refuse):
        assert await resources.publisher.publish_all([message]) == [None]
        await find_outcome(engine, event.id, lambda one: one.state == "dead")
    async with engine.connect() as tx:
        row = (await tx.execute(text("select properties from dead_letters"))).scalar_one()
    assert row["headers"][DOOR] == "http POST /api/v1/events key=1"
