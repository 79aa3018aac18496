"""The overview over HTTP: what is shown of a running system, pauses, alerts, runbooks."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp.connection import BrokerConnection
from infra.messaging.decoder import hash_names
from infra.messaging.gauges import export_queue_gauges
from infra.resources import Resources
from infra.storage.event_index import IndexedEvent, IndexPosition, write_events
from infra.storage.event_index_partitions import IndexPartitions
from infra.storage.flow_counts import count_accepted, count_dead, find_complete_until
from infra.storage.pauses import PauseTarget, pause, stop_queue
from tests.workers.ops.conftest import Visit
from workers.ops.effect_times import read_effect_times

QUEUE, SOURCE = "metrics.record", "urn:example:crm"
ROUTING_KEY = "campaign.metrics_reported.v1"


@pytest.fixture(autouse=True)
async def emptied(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        for table in ("pauses", "event_index", "log_positions", "inbox", "dead_letters"):
            await tx.execute(text(f"delete from {table}"))  # noqa: S608 - constants


def event(offset: int, door: str, at: datetime, *, from_outbox: bool = False) -> IndexedEvent:
    return IndexedEvent(
        log_offset=offset,
        logged_at=at,
        accepted_at=at,
        occurred_at=None,
        from_outbox=from_outbox,
        door=door,
        routing_key=ROUTING_KEY,
        type=ROUTING_KEY,
        source=SOURCE,
        event_id=f"event-{offset}",
        subject=None,
        correlation_id=None,
        causation_id=None,
        causation_source=None,
        campaign_id=None,
        result=None,
    )


async def index(engine: AsyncEngine, *events: IndexedEvent) -> datetime:
    """Write the index, complete until now; returns now."""
    now = datetime.now(UTC)
    async with engine.connect() as connection:
        partitions = IndexPartitions(connection, timedelta(days=7))
        await partitions.prepare({one.logged_at.date() for one in events})
    async with engine.begin() as tx:
        position = IndexPosition(len(events), None)
        assert await write_events(tx, events, before=None, position=position, complete_until=now)
    return now


async def take_sample(visit: Visit) -> str:
    """Make the console look now: resuming what is not paused changes nothing."""
    await visit.send("/queues/resume", kind="platform", name="claude")
    return (await visit.get("/"))[1]


async def test_what_was_accepted_is_shown_by_entry(
    inside: Visit, engine: AsyncEngine, resources: Resources
) -> None:
    link = BrokerConnection(resources.settings, "test:counts")
    await export_queue_gauges(link, 5, resources.redis)
    await link.close()
    at = datetime.now(UTC) - timedelta(seconds=1)
    webhooks = [event(number, "webhook gemini slot=1", at) for number in range(40)]
    amqp = [event(number, "amqp user=crm<i>", at) for number in range(40, 60)]
    caused = [event(60, "amqp user=adrelay-workers", at, from_outbox=True)]
    await index(engine, *webhooks, *amqp, *caused)
    page = await take_sample(inside)
    assert 'data-live="flow.webhooks">4/s<' in page
    assert "crm&lt;i&gt; 2" in page
    assert "6 accepted, 0.1 caused" in page
    assert 'data-live="flow.tier.30s">0<' in page
    assert 'class="flow"' in page
    assert " style=" not in page


async def test_a_lagging_index_is_not_known(inside: Visit, engine: AsyncEngine) -> None:
    page = await take_sample(inside)
    assert 'data-live="flow.webhooks">not known<' in page
    at = datetime.now(UTC) - timedelta(seconds=1)
    await index(engine, event(0, "webhook gemini slot=1", at))
    async with engine.begin() as tx:
        await tx.execute(
            text("update log_positions set complete_until = now() - interval '1 hour'")
        )
    page = await take_sample(inside)
    assert 'data-live="flow.webhooks">not known<' in page


async def test_times_to_effect_are_those_of_handled_events_and_of_those_that_wait(
    engine: AsyncEngine,
) -> None:
    at = datetime.now(UTC) - timedelta(seconds=8)
    until = await index(engine, *(event(number, "amqp user=crm", at) for number in range(4)))
    async with engine.begin() as tx:
        for number in range(3):
            await tx.execute(
                text("""
                    insert into inbox (consumer, key, digest, handled_at)
                    values (:queue, :key, :digest, :at)
                """),
                {
                    "queue": QUEUE,
                    "key": hash_names(SOURCE, f"event-{number}"),
                    "digest": uuid4(),
                    "at": at + timedelta(seconds=number),
                },
            )
        found = await read_effect_times(tx, until, until, ())
        assert found is not None
        assert (found.p50, found.number) == (1.0, 4)
        assert found.p99 == pytest.approx((until - at).total_seconds())
        assert await read_effect_times(tx, until, until, {QUEUE}) is None
        assert await find_complete_until(tx) == until
        (count,) = await count_accepted(tx, until, 10)
        assert (count.name, count.number) == ("user=crm", 4)
        assert await count_dead(tx) == 0


async def test_pauses_are_shown_with_who_and_why_on_every_page(
    inside: Visit, engine: AsyncEngine
) -> None:
    async with engine.begin() as tx:
        gemini = PauseTarget("queue", "sync.gemini")
        await pause(tx, gemini, reason="Gemini <503>", paused_by="oncall")
        await tx.execute(text("update pauses set paused_at = now() - interval '61 minutes'"))
        await stop_queue(tx, QUEUE, reason="KeyError x", version="0123abc", worker="worker-a")
    page = await take_sample(inside)
    assert "sync.gemini is paused." in page
    assert f"{QUEUE} is stopped by its circuit breaker." in page
    assert "“<bdi>Gemini &lt;503&gt;</bdi>”" in page
    assert "queue sync.gemini is paused for more than an hour" in page
    assert 'href="/runbooks/AdrelayPaused"' in page
    audit = (await inside.get("/audit"))[1]
    assert '<span data-live="frame.alerts">1 ticket</span>' in audit
    await inside.send("/mode", mode="read-only")
    assert "Resume…" not in (await inside.get("/"))[1]


async def test_a_runbook_is_a_page_and_other_names_are_none(inside: Visit) -> None:
    status, page = await inside.get("/runbooks/AdrelayDeadLetters")
    assert status == 200
    assert "<h2>First look</h2>" in page
    for name in ("AdrelayNothing", "..%2F..%2FREADME", "README", "Adrelay%00"):
        assert (await inside.get(f"/runbooks/{name}"))[0] == 404
