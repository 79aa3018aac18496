"""What a campaign, and everything that happens to it, looks like in exported spans alone."""

from itertools import pairwise

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.messaging.pause_commands import pause_target, resume_all
from infra.settings import Settings
from infra.storage.pauses import PauseTarget
from tests.collector import Collector, ExportedSpan, collecting
from tests.e2e.system import MODULES, PASSWORD, System, eventually, running_system, settled
from tests.handlers.samples import put, running
from tests.infra.ledger import count, publish, report
from tests.infra.messaging.test_batch_trace import replay_all
from tests.workers.ingress.conftest import DRAFT

# The spans of a campaign's way, each caused by the one before it: process, kind and name.
WAY = [
    ("web", "SERVER", "POST /api/v1/campaigns"),
    ("web", "PRODUCER", "send adrelay.events"),
    ("campaigns", "CONSUMER", "process campaigns.apply"),
    ("relay", "PRODUCER", "send adrelay.events"),
    ("sync", "CONSUMER", "process sync.claude"),
    ("relay", "PRODUCER", "send adrelay.events"),
    ("campaigns", "CONSUMER", "process campaigns.record"),
]
RETURNED = "send adrelay.back"
CAMPAIGNS = 8
POISONED = 5  # messages that nothing can decode
EARLY = 12  # reports about a campaign that does not exist yet: they are retried
LETTERS = "select count(*) from dead_letters"
DAYS = "select count(*) from campaign_metrics"
COMMAND, SAVED, SYNCED = (
    "campaign.create_requested.v1",
    "campaign.saved.v1.claude",
    "campaign.synced.v1",
)
KEY = "messaging.rabbitmq.destination.routing_key"


async def create(system: System, **headers: str) -> str:
    """Create a campaign; returns its id."""
    draft = {**DRAFT, "platform": "claude"}
    status, answer = await system.call("POST", "/api/v1/campaigns", draft, **headers)
    assert status == 202, answer
    return str(answer["data"]["id"])


def follow(collector: Collector, first: ExportedSpan) -> list[ExportedSpan]:
    """Follow the way of ``WAY`` from its first span, by parents alone.

    What a worker held when its queue was paused went back to the queue, and on from there.
    """
    way = [first]
    for step in WAY[1:]:
        children = collector.children(way[-1])
        returned = [span for span in children if span.name == RETURNED]
        children += [span for back in returned for span in collector.children(back)]
        found = [span for span in children if (span.service, span.kind, span.name) == step]
        if not found:
            break
        way.append(found[0])
    return way


def ways(collector: Collector) -> list[list[ExportedSpan]]:
    """Follow every campaign's way."""
    return [follow(collector, span) for span in collector.named(WAY[0][2])]


@pytest.mark.timeout(120)
async def test_the_way_of_a_campaign_is_rebuilt_from_its_spans_alone(settings: Settings) -> None:
    async with (
        collecting() as collector,
        running_system(settings.model_copy(update={"traces_endpoint": collector.url})) as system,
    ):
        await system.register()
        campaign = await create(system, tracestate="lost=1")
        await collector.until(lambda: any(len(way) == len(WAY) for way in ways(collector)))
        (way,) = ways(collector)
        await _active(system, campaign)
        # A process exports its spans when they end, and not in the order of other processes.
        await collector.until(lambda: not collector.orphans())
    assert [(span.service, span.kind, span.name) for span in way] == WAY
    assert len({span.trace for span in way}) == 1
    server, command, _, saved, sync, synced, _ = way
    assert server.parent == ""
    assert server.attributes["http.route"] == "/api/v1/campaigns"
    assert server.attributes["http.response.status_code"] == 202
    assert [span.attributes[KEY] for span in (command, saved, synced)] == [COMMAND, SAVED, SYNCED]
    assert all(span.attributes["messaging.system"] == "rabbitmq" for span in way[1:])
    assert len({span.attributes["messaging.message.conversation_id"] for span in way[1:]}) == 1
    for before, span in pairwise(way):
        assert span.kind != "CONSUMER" or span.links == ((before.trace, before.id),)
    (call,) = [span for span in collector.children(sync) if span.kind == "CLIENT"]
    assert (call.name, call.attributes["http.response.status_code"]) == ("POST", 201)
    assert call.attributes["url.full"].startswith(system.sandbox + "/claude/")
    assert not any("?" in str(span.attributes.get("url.full")) for span in collector.spans)
    assert not collector.orphans()


async def _active(system: System, campaign: str) -> None:
    async def is_active() -> bool:
        _, answer = await system.call("GET", f"/api/v1/campaigns/{campaign}")
        return bool(answer["data"]["status"] == "active")

    await eventually(is_active)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_no_span_has_a_parent_or_a_link_that_was_not_exported(
    settings: Settings, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    """With retries, dead letters, replays, pauses and restarts by SIGTERM in the middle of it."""
    async with (
        collecting() as collector,
        running_system(settings.model_copy(update={"traces_endpoint": collector.url})) as system,
    ):
        await system.register()
        nobody = {"email": "nobody@example.com", "password": PASSWORD}
        assert (await system.call("POST", "/api/v1/auth/login", nobody))[0] == 401
        await publish(broker, *(f"poison {n}".encode() for n in range(POISONED)))
        await publish(broker, *(report(n) for n in range(EARLY)))
        await collector.until(lambda: collector.named("send adrelay.retry.1s"))
        await put(engine, running(platform_campaign_id="c-1"))
        async with engine.begin() as tx:
            paused = PauseTarget("queue", "sync.claude")
            assert await pause_target(tx, paused, reason="test", paused_by="test")
        first = [await create(system) for _ in range(CAMPAIGNS)]
        await _restart_all(system)
        async with engine.begin() as tx:
            assert await resume_all(tx) == [paused]
        await eventually(lambda: _are(engine, LETTERS, POISONED))
        await replay_all(settings, engine)
        await eventually(lambda: _are(engine, LETTERS, 2 * POISONED))
        await eventually(lambda: _are(engine, DAYS, 1))
        for campaign in first:
            await _active(system, campaign)
        await eventually(lambda: settled(engine, broker), 90)
        for process in system.processes.values():
            assert await process.stop() == 0
    assert {span.name for span in collector.spans} >= {
        "POST /api/v1/campaigns",
        "send adrelay.requests",
        "process auth.session",
        "send adrelay.retry.1s",
        "send adrelay.dead",
        "send adrelay.back",
        "process metrics.record.dead",
        "process sync.claude",
    }
    complete = [way for way in ways(collector) if len(way) == len(WAY)]
    assert len(complete) == CAMPAIGNS + len(MODULES)
    assert not collector.orphans()


async def _restart_all(system: System) -> None:
    """Restart one process after the other by SIGTERM, with a campaign after each."""
    for name in MODULES:
        process = system.processes[name]
        assert await process.stop() == 0
        await process.start()
        # A worker whose queue is paused is ready too.
        await process.ready(60)
        await create(system)


async def _are(engine: AsyncEngine, sql: str, number: int) -> bool:
    return await count(engine, sql) == number
