"""Webhooks of the sandbox, as our own sources understand them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from events import CampaignMetricsReported, CampaignStatusReported, Event
from handlers.webhooks import SOURCES, InvalidSignature
from infra.sandbox import webhook_sender
from infra.sandbox.campaigns import DesiredCampaign, SandboxCampaign
from tests.sandbox import Playground, open_playground

PLATFORMS = tuple(SOURCES)


class Receiver:
    """Replaces the ingress: verifies and parses webhooks, answers with the given statuses."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[str, str | None, int]] = []
        self.events: list[Event] = []
        self.playground: Playground | None = None

    async def take(self, request: web.Request) -> web.Response:
        assert self.playground is not None
        source = request.match_info["source"]
        body = await request.read()
        secrets = self.playground.settings.platform(source).webhook_secrets
        try:
            signed = SOURCES[source].verify(request.headers, body, secrets, datetime.now(UTC))
            found = SOURCES[source].parse_events(body, signed.delivery)
            status = self.answers.pop(0) if self.answers else 200
        except InvalidSignature:
            self.got.append((source, None, 401))
            return web.Response(status=401)
        self.got.append((source, found[0].id, status))
        if status == 200:
            self.events.extend(found)
        return web.Response(status=status, headers={"Retry-After": "0"})


@asynccontextmanager
async def receiving(**changes: Any) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/webhooks/{source}", receiver.take)
    async with TestServer(app) as server:
        url = str(server.make_url(""))
        async with open_playground(adrelay_url=url, **changes) as playground:
            receiver.playground = playground
            yield receiver


def hold(receiver: Receiver, platform: str, *names: str) -> list[SandboxCampaign]:
    assert receiver.playground is not None
    book = receiver.playground.app.states[platform]
    return [book.create(desired(name), key=name) for name in names]


def desired(name: str) -> DesiredCampaign:
    return DesiredCampaign(name, 10**9, "EUR", ("ski",), (18, 65), "active", f"ref-{name}", "1")


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def reports(receiver: Receiver, campaign: SandboxCampaign) -> list[CampaignMetricsReported]:
    return [
        event
        for event in receiver.events
        if isinstance(event, CampaignMetricsReported)
        and event.data.platform_campaign_id == campaign.id
    ]


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_figures_grow_for_every_active_campaign(platform: str) -> None:
    async with receiving(sandbox_metrics_seconds=0.02) as receiver:
        *campaigns, paused = hold(receiver, platform, "one", "two", "three", "asleep")
        paused.status = "paused"
        for campaign in campaigns:
            await until(lambda campaign=campaign: len(reports(receiver, campaign)) >= 3)
        assert reports(receiver, paused) == []
        for campaign in campaigns:
            found = sorted((r.data for r in reports(receiver, campaign)), key=lambda d: d.spend)
            seen = [figures.impressions for figures in found]
            assert seen == sorted(seen)
            assert all(f.impressions >= f.clicks >= f.conversions for f in found)
            assert all(f.mode == "cumulative" for f in found)


async def test_only_seeded_campaigns_change_their_status_of_themselves() -> None:
    async with receiving(sandbox_status_seconds=0.02) as receiver:
        plain, seeded = hold(receiver, "chatgpt", "mine", "Seeded by us")
        await until(lambda: len(receiver.events) >= 4)
        events = [e for e in receiver.events if isinstance(e, CampaignStatusReported)]
        assert {event.data.platform_campaign_id for event in events} == {seeded.id}
        assert {event.data.status for event in events} == {"active", "paused"}
        assert plain.status == "active"


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_webhook_that_is_not_taken_comes_again_under_its_id(platform: str) -> None:
    async with receiving() as receiver:
        assert receiver.playground is not None
        (campaign,) = hold(receiver, platform, "one")
        receiver.answers = [503, 429, 302]
        sandbox = receiver.playground.app.platforms[platform]
        sandbox.webhooks.first_wait = 0.01
        sandbox.simulation._flip(campaign)
        await until(lambda: sandbox.webhooks.stats.delivered)
        assert [status for _, _, status in receiver.got] == [503, 429, 302, 200]
        assert len({event_id for _, event_id, _ in receiver.got}) == 1
        assert (sandbox.webhooks.stats.retried, sandbox.webhooks.stats.given_up) == (3, 0)


async def test_what_waits_is_bounded_and_what_is_lost_is_counted() -> None:
    async with open_playground() as playground:
        sandbox = playground.app.platforms["claude"]
        sandbox.webhooks.attempts = 1
        for _ in range(3 * webhook_sender.MAX_QUEUED):
            sandbox.webhooks.enqueue([{"event": "x", "data": {}}])
        assert sandbox.webhooks.queue.qsize() == webhook_sender.MAX_QUEUED
        assert sandbox.webhooks.stats.dropped == 2 * webhook_sender.MAX_QUEUED
        await until(lambda: sandbox.webhooks.stats.given_up >= 10)


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_webhooks_are_sent_on_demand(platform: str) -> None:
    async with receiving() as receiver:
        playground = receiver.playground
        assert playground is not None
        (campaign,) = hold(receiver, platform, "one")
        path = f"/{platform}/webhooks"
        order = {"kind": "status", "campaign_id": campaign.id, "status": "completed"}
        sent = await playground.control("POST", path, {**order, "id": "evt_7", "times": 10})
        assert sent == {"id": "evt_7", "answers": [200] * 10}
        assert {event.id for event in receiver.events} == {"evt_7"}
        assert campaign.status == "completed"
        forged = await playground.control("POST", path, {**order, "bad_signature": True})
        assert forged["answers"] == [401]
        totals = {"impressions": 10, "clicks": 2, "conversions": 1, "spend": 1.25}
        foreign = {"kind": "metrics", "campaign_id": "unknown", "figures": totals}
        assert (await playground.control("POST", path, foreign))["answers"] == [200]
        event = receiver.events[-1]
        assert isinstance(event, CampaignMetricsReported)
        assert float(event.data.spend) == 1.25


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_a_platform_without_a_secret_sends_nothing_and_lives(platform: str) -> None:
    secret = {f"{platform}_webhook_secret": ""}
    async with receiving(sandbox_metrics_seconds=0.01, **secret) as receiver:
        assert receiver.playground is not None
        others = [name for name in PLATFORMS if name != platform]
        for name in PLATFORMS:
            hold(receiver, name, "one")
        await until(lambda: {source for source, _, _ in receiver.got} == set(others))
        order = {"kind": "raw", "body": "x"}
        url = f"{receiver.playground.url}/_control/{platform}/webhooks"
        async with receiver.playground.session.post(url, json=order) as answer:
            assert answer.status == 400


async def test_the_pace_is_changed_while_it_runs() -> None:
    async with receiving() as receiver:
        assert receiver.playground is not None
        hold(receiver, "claude", "one")
        await receiver.playground.control("PUT", "", {"metrics_seconds": 0.01})
        await until(lambda: len(receiver.got) > 2)
        shown = await receiver.playground.control("PUT", "", {"metrics_seconds": 0})
        assert (shown["metrics_seconds"], shown["status_seconds"]) == (0, 0)
