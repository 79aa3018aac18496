"""What a campaign, and everything that happens to it, looks like in exported spans alone."""

from itertools import pairwise

import pytest

from infra.settings import Settings
from tests.collector import Collector, ExportedSpan, collecting
from tests.e2e.system import System, eventually, running_system
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
    """Follow the way of ``WAY`` from its first span, by parents alone."""
    way = [first]
    for step in WAY[1:]:
        found = [s for s in collector.children(way[-1]) if (s.service, s.kind, s.name) == step]
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
