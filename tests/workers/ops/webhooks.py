"""Webhooks to send to an ingress, and unrecognised ones to put into the database of a test."""

import time
from typing import Any

import aiohttp
import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import encode
from handlers.webhooks import build_unrecognised
from infra.security.standard_webhooks import V1, sign
from tests.workers.ops.letters import put_letter

KIND = "webhook.unrecognised.v1"
REPORT: dict[str, Any] = {
    "event": "campaign.metrics_updated",
    "data": {
        "campaignId": "clm_1",
        "date": "2026-11-29",
        "impressions": 12_840,
        "clicks": 311,
        "conversions": 17,
        "spend": 92.48,
    },
}


def report(**data: Any) -> dict[str, Any]:
    """Write a report, some of its figures changed."""
    return {**REPORT, "data": {**REPORT["data"], **data}}


async def send_chatgpt(
    client: aiohttp.ClientSession, secret: str, delivery: str, body: Any, late: int = 0
) -> int:
    """Send a webhook of ChatGPT Ads, signed ``late`` seconds ago; returns the status."""
    written = orjson.dumps(body)
    headers = sign(V1, [secret], delivery, int(time.time()) - late, written)
    async with client.post("/webhooks/chatgpt", data=written, headers=headers) as response:
        return response.status


async def put_unrecognised(
    engine: AsyncEngine, body: bytes, reason: str, source: str = "claude", **changes: Any
) -> Any:
    """File an unrecognised webhook; returns the id of its dead letter."""
    event = build_unrecognised(source, reason, body, changes.pop("delivery", "evt_1"))
    values: dict[str, Any] = {
        "queue": "webhooks.unrecognised",
        "routing_key": KIND,
        "type": KIND,
        "source": event.source,
        "event_id": event.id,
        "properties": {
            "content_type": "application/cloudevents+json",
            "type": KIND,
            "correlation_id": "",
            "headers": {"x-adrelay-door": f"webhook {source} slot=2"},
        },
        "reason": reason,
        "error_class": "UNRECOGNISED",
        "stage": "parse",
        **changes,
    }
    return await put_letter(engine, encode(event), **values)
