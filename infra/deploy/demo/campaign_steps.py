"""The life of a campaign, as its owner and its platform see it (steps 1 to 4)."""

import secrets
from typing import Any

from infra.deploy.demo.api_client import wait_until
from infra.deploy.demo.scenario import (
    CAMPAIGNS,
    DAY,
    Scenario,
    campaign_request,
    expect,
    has_id,
    matches_data,
    metrics_webhook,
    print_note,
    print_title,
    status_webhook,
)
from schemas.types import PLATFORMS

IMPRESSIONS = 1000


async def register_and_log_in(scenario: Scenario) -> None:
    """Register, log in, and see who we are."""
    print_title("1. An account registers and logs in; both are answered by the auth worker.")
    client = scenario.client
    body = {"email": f"demo-{scenario.name}@adrelay.example", "password": secrets.token_urlsafe(18)}
    made = await client.call("POST", "/api/v1/auth/register", expect=201, json_body=body)
    user = made.data["user"]
    event = await scenario.listener.wait_for(
        "user.registered.v1", lambda e: e["type"] == "user.registered.v1" and user["id"] in str(e)
    )
    print_note(f"registered {user['email']} with the role {user['role']}", event)
    wrong = {**body, "password": "not the password"}
    await client.call("POST", "/api/v1/auth/login", expect=401, json_body=wrong)
    login = await client.call("POST", "/api/v1/auth/login", expect=200, json_body=body)
    scenario.token = login.data["access_token"]
    me = await client.call("GET", "/api/v1/auth/me", expect=200, token=scenario.token)
    expect(me.data["id"] == user["id"], "GET /auth/me answered another user")
    print_note("logged in; a wrong password was refused with 401")


async def create_campaigns(scenario: Scenario) -> None:
    """Ask for campaigns: invalid, asynchronously, and waiting for the result."""
    print_title("2. Campaigns are asked for: refused if invalid, else accepted and saved.")
    client, token = scenario.client, scenario.token
    invalid = {**campaign_request("", "claude"), "budget": -1}
    answer = await client.call("POST", CAMPAIGNS, expect=400, token=token, json_body=invalid)
    error = answer.body["error"]
    fields = sorted(detail["field"] for detail in error["details"])
    expect(error["code"] == "VALIDATION_ERROR", f"the code is {error['code']}")
    expect(fields == ["budget", "name"], f"the details name {fields}")
    print_note("an invalid one: 400 VALIDATION_ERROR, details for budget and name")

    body = campaign_request(f"Demo {scenario.name} claude", "claude")
    once = {"idempotency-key": f"demo-{scenario.name}-claude"}
    answer = await client.call(
        "POST", CAMPAIGNS, expect=202, token=token, json_body=body, headers=once
    )
    made = answer.data
    expect(answer.headers.get("Location", "").endswith(made["id"]), "no Location of the campaign")
    path = f"/api/v1/operations/{made['operation_id']}"

    async def done() -> bool:
        state = (await client.call("GET", path, expect=200, token=token)).data["state"]
        expect(state in ("pending", "done"), f"the operation is {state}")
        return bool(state == "done")

    await wait_until("the operation is done", done)
    scenario.campaigns["claude"] = {"id": made["id"]}
    asked = await scenario.listener.wait_for("request", has_id(made["operation_id"]))
    print_note("claude: 202 with Location, the operation is done", asked)
    for platform in ("chatgpt", "gemini"):
        body = campaign_request(f"Demo {scenario.name} {platform}", platform)
        headers = {"prefer": "wait=5", "idempotency-key": f"demo-{scenario.name}-{platform}"}
        answer = await client.call(
            "POST", CAMPAIGNS, expect=201, token=token, json_body=body, headers=headers
        )
        scenario.campaigns[platform] = answer.data
        print_note(f"{platform}: 201 at once with Prefer: wait=5, campaign {answer.data['id']}")


async def wait_for_sync(scenario: Scenario) -> None:
    """Wait until every campaign runs on its platform."""
    print_title("3. The campaigns are saved and pushed to their platforms.")
    for platform in PLATFORMS:

        async def active(platform: str = platform) -> dict[str, Any] | None:
            campaign = await scenario.campaign(platform)
            return campaign if campaign["status"] == "active" else None

        campaign = await wait_until(f"the {platform} campaign is active", active)
        expect(campaign["platform_campaign_id"], f"no platform_campaign_id on {platform}")
        scenario.campaigns[platform] = campaign
        events = [
            await scenario.listener.wait_for(kind, matches_data(kind, campaign_id=campaign["id"]))
            for kind in ("campaign.saved.v1", "campaign.synced.v1")
        ]
        print_note(f"{platform}: active as {campaign['platform_campaign_id']}", *events)


async def send_webhooks(scenario: Scenario) -> None:
    """Play the platforms: a status and figures, each signed in the platform's way."""
    print_title("4. The platforms send signed webhooks; campaigns and figures follow.")
    for platform in PLATFORMS:
        await _play(scenario, platform)
    listed = await scenario.client.call("GET", CAMPAIGNS, expect=200, token=scenario.token)
    expect(listed.body["pagination"]["total"] == len(PLATFORMS), "the list is not complete")


async def _play(scenario: Scenario, platform: str) -> None:
    campaign = scenario.campaigns[platform]
    first, second = f"demo-{scenario.name}-{platform}-1", f"demo-{scenario.name}-{platform}-2"
    for body in (
        status_webhook(campaign, "paused", first),
        metrics_webhook(campaign, IMPRESSIONS, second),
    ):
        answer = await scenario.client.webhook(platform, body, body["id"])
        expect(answer.body == {"received": True}, f"the webhook was answered {answer.body}")

    async def shown() -> bool:
        seen = await scenario.campaign(platform)
        figures = await scenario.figures(campaign["id"])
        return seen["status"] == "paused" and bool(figures["impressions"] == IMPRESSIONS)

    await wait_until(f"the {platform} campaign shows status and figures", shown)
    events = [
        await scenario.listener.wait_for(delivery, has_id(delivery)) for delivery in (first, second)
    ]
    print_note(f"{platform}: paused, {IMPRESSIONS} impressions on {DAY}", *events)
