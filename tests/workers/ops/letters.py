"""Dead letters to put into the database of a test."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from events.sources import API_SOURCE
from infra.storage.dead_letters import DeadLetterRow, put_dead_letters

KIND = "campaign.metrics_reported.v1"


def figures(event_id: str = "e-1", **data: Any) -> bytes:
    """Write the event of a report."""
    values = {
        "platform": "claude",
        "platform_campaign_id": "cmp_1",
        "date": "2026-11-29",
        "impressions": 10,
        "clicks": 1,
        "conversions": 0,
        "spend": 1.5,
        **data,
    }
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": API_SOURCE,
        "type": KIND,
        "time": "2026-11-29T13:30:00Z",
        "data": {name: value for name, value in values.items() if value is not None},
    }
    return orjson.dumps(event)


async def put_letter(engine: AsyncEngine, body: bytes = b"{}", **changes: Any) -> UUID:
    """File a dead letter; returns its id."""
    moment = now() - timedelta(minutes=5)
    values: dict[str, Any] = {
        "id": uuid4(),
        "queue": "metrics.record",
        "routing_key": KIND,
        "message_id": None,
        "type": KIND,
        "source": API_SOURCE,
        "event_id": "e-1",
        "body": body,
        "properties": {
            "content_type": "application/cloudevents+json",
            "type": KIND,
            "correlation_id": "",
            "headers": {},
        },
        "reason": "data.clicks: Field required",
        "error_class": "INVALID_EVENT",
        "stage": "decode",
        "worker": "host",
        "attempts": 1,
        "first_failed_at": moment,
        "last_failed_at": moment,
        "fingerprint": "6afbcb11eb73",
        "replays": 0,
        **changes,
    }
    letter = DeadLetterRow(**values)
    async with engine.begin() as tx:
        await put_dead_letters(tx, [letter])
    return letter.id
