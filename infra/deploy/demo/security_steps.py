"""Checks forged, repeated and invalid events, and upstream systems (steps 5 and 6)."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from infra.deploy.demo.api_client import wait_until
from infra.deploy.demo.event_listener import EventJson
from infra.deploy.demo.scenario import (
    CAMPAIGNS,
    DAY,
    Scenario,
    expect,
    metrics_webhook,
    print_note,
    print_title,
)

RECORDED = "campaign.metrics_recorded.v1"
REPORTED = "campaign.metrics_reported.v1"
CREATE = "campaign.create_requested.v1"
EVENTS = "/api/v1/events"
REPEATS = 10
# Each day of its own, so that the totals of one part do not touch those of another.
DEAD_LETTER_DAY = "2026-01-16"
UPSTREAM_DAY = "2026-01-17"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A company's own system: an API key, and the source that it may speak for."""

    key: str
    source: str

    def event(self, kind: str, data: dict[str, Any]) -> EventJson:
        """Build a CloudEvent of this source."""
        return {
            "specversion": "1.0",
            "id": f"demo-{uuid4()}",
            "source": self.source,
            "type": kind,
            "time": datetime.now(UTC).isoformat(),
            "data": data,
        }

    def delta(self, campaign: dict[str, Any], day: str, impressions: int) -> EventJson:
        """Report impressions to be added to a day."""
        data = {
            "platform": campaign["platform"],
            "campaign_id": campaign["id"],
            "date": day,
            "impressions": impressions,
            "clicks": 0,
            "conversions": 0,
            "spend": 0.25,
            "mode": "delta",
        }
        return self.event(REPORTED, data)


def get_upstream(scenario: Scenario) -> Upstream:
    """Take the key and the source that this installation was seeded with."""
    env = scenario.client.env
    return Upstream(env["ADRELAY_API_KEY"], env["ADRELAY_API_KEY_SOURCE"])


async def wait_for_impressions(
    scenario: Scenario, campaign: dict[str, Any], day: str, count: int, token: str = ""
) -> None:
    """Wait until a day has exactly so many impressions."""

    async def counted() -> bool:
        figures = await scenario.figures(campaign["id"], token, day)
        expect(figures["impressions"] <= count, f"counted too much on {day}: {figures}")
        return bool(figures["impressions"] == count)

    await wait_until(f"{count} impressions on {day}", counted)


def recorded_from(delivery: str) -> Callable[[EventJson], bool]:
    """Match the recorded figures that a delivery has led to."""
    return lambda event: event["type"] == RECORDED and delivery in json.dumps(event["data"])


async def check_forged_webhook(scenario: Scenario) -> None:
    """Forge a webhook, which leaves nothing, and repeat one, which counts once."""
    print_title("5. Forged webhooks leave no event, repeated ones count once, bad events go dead.")
    client, listener, campaign = scenario.client, scenario.listener, scenario.campaigns["claude"]
    forged, genuine, last = (f"demo-{scenario.name}-{word}" for word in ("forged", "again", "last"))
    body = metrics_webhook(campaign, 9_999_999, forged)
    await client.webhook("claude", body, forged, expect=401, secret=secrets.token_hex(16))
    for _ in range(REPEATS):
        await client.webhook("claude", metrics_webhook(campaign, 2000, genuine), genuine)
    await client.webhook("claude", metrics_webhook(campaign, 2001, last), last)
    # The last one went through the same queue, so all before it have been dealt with.
    first = await listener.wait_for(RECORDED, recorded_from(genuine))
    final = await listener.wait_for(RECORDED, recorded_from(last))
    times = len([event for event in listener.events if recorded_from(genuine)(event)])
    expect(times == 1, f"the repeated webhook took effect {times} times")
    expect(
        not any(forged in str(e["id"]) for e in listener.events), "the forged webhook left an event"
    )
    await wait_for_impressions(scenario, campaign, DAY, 2001)
    print_note("a wrong signature: 401 and no event")
    print_note(f"the same webhook {REPEATS} times: recorded once", first, final)


async def check_dead_letters(scenario: Scenario) -> None:
    """Publish invalid events among valid ones; edit and replay one of the dead letters."""
    campaign, upstream, dead = (
        scenario.campaigns["gemini"],
        get_upstream(scenario),
        scenario.client.dead_letters,
    )
    good, bad, hopeless, fine = (
        upstream.delta(campaign, DEAD_LETTER_DAY, impressions) for impressions in (1, -20, -30, 300)
    )
    for event in (good, bad, hopeless, fine):
        await scenario.listener.publish(event, f"{REPORTED}.{campaign['platform']}")
    await wait_for_impressions(scenario, campaign, DEAD_LETTER_DAY, 301)
    print_note("two bad events among two good ones, over AMQP: the good ones counted", good, fine)

    async def filed() -> list[dict[str, Any]] | None:
        rows = [row for row in await dead("list") if row["source"] == upstream.source]
        found = [(await dead("show", row["id"]))[0] for row in rows]
        ours = [letter for letter in found if letter["event_id"] in (bad["id"], hopeless["id"])]
        return ours if len(ours) == 2 else None  # noqa: PLR2004 - bad and hopeless

    filing = await wait_until("both bad events are dead letters", filed)
    by_event = {letter["event_id"]: letter for letter in filing}
    editable, other = by_event[bad["id"]], by_event[hopeless["id"]]
    expect("impressions" in editable["reason"], f"the reason is {editable['reason']}")
    print_note(f"the bad ones are dead letters: {editable['reason']}", bad, hopeless)
    await dead("edit", editable["id"], "--set", "data.impressions=20")
    await dead("replay", editable["id"])
    await wait_for_impressions(scenario, campaign, DEAD_LETTER_DAY, 321)
    await dead("discard", other["id"])
    left = [row["id"] for row in await dead("list")]
    expect(not {editable["id"], other["id"]} & set(left), "a dead letter is still open")
    await wait_for_impressions(scenario, campaign, DEAD_LETTER_DAY, 321)
    print_note("one was edited and replayed and counted once, the other was discarded")


async def admin_token(scenario: Scenario) -> str:
    """Log in as the seeded admin."""
    env = scenario.client.env
    body = {"email": env["ADRELAY_ADMIN_EMAIL"], "password": env["ADRELAY_ADMIN_PASSWORD"]}
    login = await scenario.client.call("POST", "/api/v1/auth/login", expect=200, json_body=body)
    return str(login.data["access_token"])


async def check_upstream(scenario: Scenario) -> None:
    """Publish over AMQP and over HTTP, and the same event both ways."""
    print_title("6. Upstream systems publish over AMQP and HTTP; both ways together count once.")
    upstream, client, admin = get_upstream(scenario), scenario.client, await admin_token(scenario)
    campaign_id, platform = str(uuid4()), "claude"
    targeting = {"interests": ["running"], "age_range": [18, 65]}
    wanted = {"campaign_id": campaign_id, "name": f"Upstream {scenario.name}", "budget": 75}
    wanted |= {"platform": platform, "targeting": targeting}
    create = upstream.event(CREATE, wanted)
    await scenario.listener.publish(create, CREATE)
    await post(scenario, upstream, create)

    async def active() -> dict[str, Any] | None:
        path = f"{CAMPAIGNS}?per_page=100"
        listed = (await client.call("GET", path, expect=200, token=admin)).data
        ours = [campaign for campaign in listed if campaign["name"] == wanted["name"]]
        expect(len(ours) <= 1, "the campaign was created twice")
        return ours[0] if ours and ours[0]["status"] == "active" else None

    campaign = await wait_until("the upstream campaign is active", active)
    expect(campaign["id"] == campaign_id, "the campaign has another id than it was given")
    print_note(f"created over AMQP and HTTP with one id: one campaign, {campaign['id']}", create)
    both = upstream.delta(campaign, UPSTREAM_DAY, 5)
    await post(scenario, upstream, both)
    await scenario.listener.publish(both, f"{REPORTED}.{platform}")
    amqp, http = (upstream.delta(campaign, UPSTREAM_DAY, count) for count in (10, 100))
    await scenario.listener.publish(amqp, f"{REPORTED}.{platform}")
    foreign = {**upstream.delta(campaign, UPSTREAM_DAY, 7000), "source": "urn:example:foreign"}
    await batch(scenario, upstream, [http, foreign])
    await wait_for_impressions(scenario, campaign, UPSTREAM_DAY, 115, admin)
    print_note(
        "figures over AMQP, over HTTP, and one both ways: each counted once", amqp, http, both
    )


async def post(scenario: Scenario, upstream: Upstream, event: EventJson) -> None:
    """Publish one event over HTTP."""
    await scenario.client.call(
        "POST",
        EVENTS,
        expect=202,
        token=upstream.key,
        raw=json.dumps(event).encode(),
        headers={"content-type": "application/cloudevents+json"},
    )


async def batch(scenario: Scenario, upstream: Upstream, events: list[EventJson]) -> None:
    """Publish a batch of which the last is refused, and check the verdicts."""
    answer = await scenario.client.call(
        "POST",
        EVENTS,
        expect=207,
        token=upstream.key,
        raw=json.dumps(events).encode(),
        headers={"content-type": "application/cloudevents-batch+json"},
    )
    verdicts = [verdict["status"] for verdict in answer.data]
    expected = ["accepted"] * (len(events) - 1) + ["refused"]
    expect(verdicts == expected, f"the verdicts of the batch are {verdicts}")
    print_note(f"a batch over HTTP: {', '.join(verdicts)} (not the key's source)")
