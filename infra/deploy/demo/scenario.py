"""The state of the demonstration, what it prints, and the bodies that it sends."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.deploy.demo.api_client import ApiClient, DemoFailed
from infra.deploy.demo.event_listener import EventJson, EventListener

# A day of the past: the sandbox reports today's figures, those of the demonstration must be alone.
DAY = "2026-01-15"
CAMPAIGNS = "/api/v1/campaigns"


@dataclass
class Scenario:
    """Who acts, and what the later steps need from the earlier ones."""

    client: ApiClient
    listener: EventListener
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    token: str = ""
    campaigns: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def campaign(self, platform: str) -> dict[str, Any]:
        """Read the story's campaign on a platform."""
        path = f"{CAMPAIGNS}/{self.campaigns[platform]['id']}"
        answer = await self.client.call("GET", path, expect=200, token=self.token)
        return dict(answer.data)

    async def figures(self, campaign_id: str, token: str = "", day: str = DAY) -> dict[str, Any]:
        """Read a campaign's figures of one day; zeros when there are none."""
        path = f"{CAMPAIGNS}/{campaign_id}/metrics?from={day}&to={day}"
        answer = await self.client.call("GET", path, expect=200, token=token or self.token)
        nothing = {"impressions": 0, "clicks": 0, "conversions": 0, "spend": 0}
        return dict(answer.data[0]) if answer.data else nothing


def print_title(text: str) -> None:
    """Print the title of a step."""
    print(f"\n{text}", flush=True)


def print_note(text: str, *events: EventJson) -> None:
    """Print what happened, and by which events."""
    print(f"   {text}", flush=True)
    for event in events:
        print(f"      {event['type']:38} id {event['id']}", flush=True)


def expect(truth: object, otherwise: str) -> None:
    """Go on only if something is as it should be."""
    if not truth:
        raise DemoFailed(otherwise)


def matches_data(kind: str, **data: object) -> Callable[[EventJson], bool]:
    """Match events of a type whose data has these values."""

    def matches(event: EventJson) -> bool:
        found = event.get("data")
        return (
            event.get("type") == kind
            and isinstance(found, dict)
            and all(found.get(name) == value for name, value in data.items())
        )

    return matches


def has_id(event_id: str) -> Callable[[EventJson], bool]:
    """Match the event of this id."""
    return lambda event: event["id"] == event_id


def campaign_request(name: str, platform: str) -> dict[str, Any]:
    """Describe a campaign as a client sends it."""
    targeting = {"interests": ["tea", "books"], "age_range": [25, 45]}
    return {"name": name, "budget": 100.5, "platform": platform, "targeting": targeting}


def status_webhook(campaign: dict[str, Any], status: str, delivery: str) -> dict[str, Any]:
    """Write the webhook of a status that has changed now."""
    at = datetime.now(UTC).isoformat()
    data = {"campaignId": campaign["platform_campaign_id"], "status": status, "occurredAt": at}
    return {"id": delivery, "event": "campaign.status_changed", "data": data}


def metrics_webhook(campaign: dict[str, Any], impressions: int, delivery: str) -> dict[str, Any]:
    """Write the webhook of a day's totals."""
    data = {
        "campaignId": campaign["platform_campaign_id"],
        "date": DAY,
        "impressions": impressions,
        "clicks": impressions // 10,
        "conversions": impressions // 100,
        "spend": impressions / 100,
    }
    return {"id": delivery, "event": "campaign.metrics_updated", "data": data}
