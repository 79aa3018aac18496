"""The life of a campaign, as its owner and its platform see it (steps 1 to 4)."""

import secrets
from typing import Any

from infra.deploy.demo.api_client import until
from infra.deploy.demo.scenario import (
    CAMPAIGNS,
    DAY,
    Stage,
    about,
    draft,
    expect,
    known_as,
    note,
    report,
    standing,
    title,
)
from schemas.types import PLATFORMS

IMPRESSIONS = 1000


async def accounts(stage: Stage) -> None:
    """Register, log in, and see who we are."""
    title("1. An account registers and logs in; both are answered by the auth worker.")
    outside = stage.outside
    body = {"email": f"demo-{stage.name}@adrelay.example", "password": secrets.token_urlsafe(18)}
    made = await outside.call("POST", "/api/v1/auth/register", expect=201, json_body=body)
    user = made.data["user"]
    event = await stage.tap.wait_for(
        "user.registered.v1", lambda e: e["type"] == "user.registered.v1" and user["id"] in str(e)
    )
    note(f"registered {user['email']} with the role {user['role']}", event)
    wrong = {**body, "password": "not the password"}
    await outside.call("POST", "/api/v1/auth/login", expect=401, json_body=wrong)
    login = await outside.call("POST", "/api/v1/auth/login", expect=200, json_body=body)
    stage.token = login.data["access_token"]
    me = await outside.call("GET", "/api/v1/auth/me", expect=200, token=stage.token)
    expect(me.data["id"] == user["id"], "GET /auth/me answered somebody else")
    note("logged in; a wrong password was refused with 401")


async def creating(stage: Stage) -> None:
    """Ask for campaigns: invalid, asynchronously, and waiting for the result."""
    title("2. Campaigns are asked for: refused if invalid, else accepted and saved.")
    outside, token = stage.outside, stage.token
    invalid = {**draft("", "claude"), "budget": -1}
    answer = await outside.call("POST", CAMPAIGNS, expect=400, token=token, json_body=invalid)
    error = answer.body["error"]
    fields = sorted(detail["field"] for detail in error["details"])
    expect(error["code"] == "VALIDATION_ERROR", f"the code is {error['code']}")
    expect(fields == ["budget", "name"], f"the details name {fields}")
    note("an invalid one: 400 VALIDATION_ERROR, details for budget and name")

    body = draft(f"Demo {stage.name} claude", "claude")
    once = {"idempotency-key": f"demo-{stage.name}-claude"}
    answer = await outside.call(
        "POST", CAMPAIGNS, expect=202, token=token, json_body=body, headers=once
    )
    made = answer.data
    expect(answer.headers.get("Location", "").endswith(made["id"]), "no Location of the campaign")
    path = f"/api/v1/operations/{made['operation_id']}"

    async def done() -> bool:
        state = (await outside.call("GET", path, expect=200, token=token)).data["state"]
        expect(state in ("pending", "done"), f"the operation is {state}")
        return bool(state == "done")

    await until("the operation is done", done)
    stage.campaigns["claude"] = {"id": made["id"]}
    asked = await stage.tap.wait_for("request", known_as(made["operation_id"]))
    note("claude: 202 with Location, the operation is done", asked)
    for platform in ("chatgpt", "gemini"):
        body = draft(f"Demo {stage.name} {platform}", platform)
        headers = {"prefer": "wait=5", "idempotency-key": f"demo-{stage.name}-{platform}"}
        answer = await outside.call(
            "POST", CAMPAIGNS, expect=201, token=token, json_body=body, headers=headers
        )
        stage.campaigns[platform] = answer.data
        note(f"{platform}: 201 at once with Prefer: wait=5, campaign {answer.data['id']}")


async def syncing(stage: Stage) -> None:
    """Wait until every campaign runs on its platform."""
    title("3. The campaigns are saved and pushed to their platforms.")
    for platform in PLATFORMS:

        async def active(platform: str = platform) -> dict[str, Any] | None:
            campaign = await stage.campaign(platform)
            return campaign if campaign["status"] == "active" else None

        campaign = await until(f"the {platform} campaign is active", active)
        expect(campaign["platform_campaign_id"], f"no platform_campaign_id on {platform}")
        stage.campaigns[platform] = campaign
        events = [
            await stage.tap.wait_for(kind, about(kind, campaign_id=campaign["id"]))
            for kind in ("campaign.saved.v1", "campaign.synced.v1")
        ]
        note(f"{platform}: active as {campaign['platform_campaign_id']}", *events)


async def webhooks(stage: Stage) -> None:
    """Play the platforms: a status and figures, each signed in the platform's way."""
    title("4. The platforms send signed webhooks; campaigns and figures follow.")
    for platform in PLATFORMS:
        await _play(stage, platform)
    listed = await stage.outside.call("GET", CAMPAIGNS, expect=200, token=stage.token)
    expect(listed.body["pagination"]["total"] == len(PLATFORMS), "the list is not complete")


async def _play(stage: Stage, platform: str) -> None:
    campaign = stage.campaigns[platform]
    first, second = f"demo-{stage.name}-{platform}-1", f"demo-{stage.name}-{platform}-2"
    for body in (standing(campaign, "paused", first), report(campaign, IMPRESSIONS, second)):
        answer = await stage.outside.webhook(platform, body, body["id"])
        expect(answer.body == {"received": True}, f"the webhook was answered {answer.body}")

    async def shown() -> bool:
        seen = await stage.campaign(platform)
        figures = await stage.figures(campaign["id"])
        return seen["status"] == "paused" and bool(figures["impressions"] == IMPRESSIONS)

    await until(f"the {platform} campaign shows its news", shown)
    events = [
        await stage.tap.wait_for(delivery, known_as(delivery)) for delivery in (first, second)
    ]
    note(f"{platform}: paused, {IMPRESSIONS} impressions on {DAY}", *events)
