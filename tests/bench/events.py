"""What is measured with: reports of 400 bytes about 500 campaigns, the same for all."""

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from events import CampaignMetricsReported
from events.envelope import CONTENT_TYPE, encode, now
from infra.amqp import topology
from infra.amqp.message import Message
from infra.amqp.publisher import Publisher

SEED = 7
CAMPAIGNS = [UUID(int=random.Random(SEED).getrandbits(128) ^ n, version=4) for n in range(500)]
DAYS = 21
WINDOW = 5000
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SOURCE = "urn:bench"
KEY = "campaign.metrics_reported.v1.claude"


def report(number: int, size: int = 0) -> CampaignMetricsReported:
    """Make a report; one of more than 400 bytes has an extension that fills it up."""
    campaign = CAMPAIGNS[number % len(CAMPAIGNS)]
    day = (now() - timedelta(days=number % DAYS)).date()
    data: dict[str, Any] = {
        "platform": "claude",
        "campaign_id": campaign,
        "date": day,
        "impressions": number,
        "clicks": number // 10,
        "conversions": number // 100,
        "spend": number,
    }
    more = {"padding": "x" * (size - 400)} if size > 400 else {}
    return CampaignMetricsReported(
        source=SOURCE, subject=str(campaign), traceparent=TRACE, data=data, **more
    )


def bodies(count: int, size: int = 0) -> Iterator[bytes]:
    """Write reports as they are published."""
    return (encode(report(number, size)) for number in range(count))


async def fill(publisher: Publisher, exchange: str, key: str, count: int, size: int = 0) -> None:
    """Publish reports, confirmed; raises when one is not taken."""
    # FastStream reads a body as JSON only when it is called application/json.
    kind = CONTENT_TYPE if exchange else "application/json"
    batch: list[Message] = []
    for number, body in enumerate(bodies(count, size), start=1):
        name = f"m-{number}"
        headers = {"traceparent": TRACE}
        batch.append(Message(exchange, key, body, name, content_type=kind, headers=headers))
        if len(batch) == WINDOW or number == count:
            failed = [error for error in await publisher.publish_all(batch) if error]
            if failed:
                raise failed[0]
            batch.clear()


async def fill_ours(publisher: Publisher, count: int, size: int = 0) -> None:
    """Publish reports as an upstream system does, so that they reach our queue."""
    await fill(publisher, topology.EVENTS_EXCHANGE, KEY, count, size)


def webhook(number: int) -> bytes:
    """Write a platform's webhook about a campaign."""
    figures = {
        "campaignId": str(CAMPAIGNS[number % len(CAMPAIGNS)]),
        "date": (now() - timedelta(days=number % DAYS)).date().isoformat(),
        "impressions": number,
        "clicks": number // 10,
        "conversions": number // 100,
        "spend": number / 100,
    }
    body = {"id": f"evt_{number}", "event": "campaign.metrics_updated", "data": figures}
    return json.dumps(body).encode()
