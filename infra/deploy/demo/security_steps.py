"""What must never count, or count once: forged, repeated and broken events (steps 5 and 6)."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from infra.deploy.demo.api_client import until
from infra.deploy.demo.event_listener import Event
from infra.deploy.demo.scenario import CAMPAIGNS, DAY, Stage, expect, note, report, title

RECORDED = "campaign.metrics_recorded.v1"
REPORTED = "campaign.metrics_reported.v1"
CREATE = "campaign.create_requested.v1"
EVENTS = "/api/v1/events"
REPEATS = 10
# Each day of its own, so that the totals of one part do not touch those of another.
LETTER_DAY = "2026-01-16"
UPSTREAM_DAY = "2026-01-17"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A company's own system: an API key, and the source that it may speak for."""

    key: str
    source: str

    def event(self, kind: str, data: dict[str, Any]) -> Event:
        """Make a CloudEvent of our own."""
        return {
            "specversion": "1.0",
            "id": f"demo-{uuid4()}",
            "source": self.source,
            "type": kind,
            "time": datetime.now(UTC).isoformat(),
            "data": data,
        }

    def delta(self, campaign: dict[str, Any], day: str, impressions: int) -> Event:
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


def upstream_of(stage: Stage) -> Upstream:
    """Take the key and the source that this installation was seeded with."""
    env = stage.outside.env
    return Upstream(env["ADRELAY_API_KEY"], env["ADRELAY_API_KEY_SOURCE"])


async def wait_for_impressions(
    stage: Stage, campaign: dict[str, Any], day: str, count: int, token: str = ""
) -> None:
    """Wait until a day has exactly so many impressions."""

    async def counted() -> bool:
        figures = await stage.figures(campaign["id"], token, day)
        expect(figures["impressions"] <= count, f"counted too much on {day}: {figures}")
        return bool(figures["impressions"] == count)

    await until(f"{count} impressions on {day}", counted)


def recorded_from(delivery: str) -> Callable[[Event], bool]:
    """Match the recorded figures that a delivery has led to."""
    return lambda event: event["type"] == RECORDED and delivery in json.dumps(event["data"])


async def forgery(stage: Stage) -> None:
    """Forge a webhook, which leaves nothing, and repeat one, which counts once."""
    title("5. Forged webhooks leave no event, repeated ones count once, bad events go dead.")
    outside, tap, campaign = stage.outside, stage.tap, stage.campaigns["claude"]
    forged, genuine, last = (f"demo-{stage.name}-{word}" for word in ("forged", "again", "last"))
    body = report(campaign, 9_999_999, forged)
    await outside.webhook("claude", body, forged, expect=401, secret=secrets.token_hex(16))
    for _ in range(REPEATS):
        await outside.webhook("claude", report(campaign, 2000, genuine), genuine)
    await outside.webhook("claude", report(campaign, 2001, last), last)
    # The last one went through the same queue, so all before it have been dealt with.
    first = await tap.wait_for(RECORDED, recorded_from(genuine))
    final = await tap.wait_for(RECORDED, recorded_from(last))
    times = len([event for event in tap.events if recorded_from(genuine)(event)])
    expect(times == 1, f"the repeated webhook took effect {times} times")
    expect(not any(forged in str(e["id"]) for e in tap.events), "the forged webhook left an event")
    await wait_for_impressions(stage, campaign, DAY, 2001)
    note("a wrong signature: 401 and no event")
    note(f"the same webhook {REPEATS} times: recorded once", first, final)


async def letters(stage: Stage) -> None:
    """Hide bad events among good ones; mend and replay one of the dead letters."""
    campaign, upstream, dead = stage.campaigns["gemini"], upstream_of(stage), stage.outside.dead
    good, bad, hopeless, fine = (
        upstream.delta(campaign, LETTER_DAY, impressions) for impressions in (1, -20, -30, 300)
    )
    for event in (good, bad, hopeless, fine):
        await stage.tap.publish(event, f"{REPORTED}.{campaign['platform']}")
    await wait_for_impressions(stage, campaign, LETTER_DAY, 301)
    note("two bad events among two good ones, over AMQP: the good ones counted", good, fine)

    async def filed() -> list[dict[str, Any]] | None:
        rows = [row for row in await dead("list") if row["source"] == upstream.source]
        found = [(await dead("show", row["id"]))[0] for row in rows]
        ours = [letter for letter in found if letter["event_id"] in (bad["id"], hopeless["id"])]
        return ours if len(ours) == 2 else None  # noqa: PLR2004 - bad and hopeless

    filing = await until("both bad events are dead letters", filed)
    by_event = {letter["event_id"]: letter for letter in filing}
    mendable, other = by_event[bad["id"]], by_event[hopeless["id"]]
    expect("impressions" in mendable["reason"], f"the reason is {mendable['reason']}")
    note(f"the bad ones are dead letters: {mendable['reason']}", bad, hopeless)
    await dead("edit", mendable["id"], "--set", "data.impressions=20")
    await dead("replay", mendable["id"])
    await wait_for_impressions(stage, campaign, LETTER_DAY, 321)
    await dead("discard", other["id"])
    left = [row["id"] for row in await dead("list")]
    expect(not {mendable["id"], other["id"]} & set(left), "a letter is still open")
    await wait_for_impressions(stage, campaign, LETTER_DAY, 321)
    note("one was mended and replayed and counted once, the other was discarded")


async def admin_token(stage: Stage) -> str:
    """Log in as the seeded admin."""
    env = stage.outside.env
    body = {"email": env["ADRELAY_ADMIN_EMAIL"], "password": env["ADRELAY_ADMIN_PASSWORD"]}
    login = await stage.outside.call("POST", "/api/v1/auth/login", expect=200, json_body=body)
    return str(login.data["access_token"])


async def upstreams(stage: Stage) -> None:
    """Publish over AMQP and over HTTP, and the same event both ways."""
    title("6. Upstream systems publish over AMQP and HTTP; both ways together count once.")
    upstream, outside, admin = upstream_of(stage), stage.outside, await admin_token(stage)
    campaign_id, platform = str(uuid4()), "claude"
    targeting = {"interests": ["running"], "age_range": [18, 65]}
    wanted = {"campaign_id": campaign_id, "name": f"Upstream {stage.name}", "budget": 75}
    wanted |= {"platform": platform, "targeting": targeting}
    create = upstream.event(CREATE, wanted)
    await stage.tap.publish(create, CREATE)
    await post(stage, upstream, create)

    async def active() -> dict[str, Any] | None:
        path = f"{CAMPAIGNS}?per_page=100"
        listed = (await outside.call("GET", path, expect=200, token=admin)).data
        ours = [campaign for campaign in listed if campaign["name"] == wanted["name"]]
        expect(len(ours) <= 1, "the campaign was created twice")
        return ours[0] if ours and ours[0]["status"] == "active" else None

    campaign = await until("the upstream campaign is active", active)
    expect(campaign["id"] == campaign_id, "the campaign has another id than it was given")
    note(f"created over AMQP and HTTP with one id: one campaign, {campaign['id']}", create)
    both = upstream.delta(campaign, UPSTREAM_DAY, 5)
    await post(stage, upstream, both)
    await stage.tap.publish(both, f"{REPORTED}.{platform}")
    amqp, http = (upstream.delta(campaign, UPSTREAM_DAY, count) for count in (10, 100))
    await stage.tap.publish(amqp, f"{REPORTED}.{platform}")
    foreign = {**upstream.delta(campaign, UPSTREAM_DAY, 7000), "source": "urn:example:foreign"}
    await batch(stage, upstream, [http, foreign])
    await wait_for_impressions(stage, campaign, UPSTREAM_DAY, 115, admin)
    note("figures over AMQP, over HTTP, and one both ways: each counted once", amqp, http, both)


async def post(stage: Stage, upstream: Upstream, event: Event) -> None:
    """Publish one event over HTTP."""
    await stage.outside.call(
        "POST",
        EVENTS,
        expect=202,
        token=upstream.key,
        raw=json.dumps(event).encode(),
        headers={"content-type": "application/cloudevents+json"},
    )


async def batch(stage: Stage, upstream: Upstream, events: list[Event]) -> None:
    """Publish a batch of which the last is refused, and check the verdicts."""
    answer = await stage.outside.call(
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
    note(f"a batch over HTTP: {', '.join(verdicts)} (not the key's source)")
