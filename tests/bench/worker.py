"""Our worker, as it is: only the handler is exchanged for one that does what the peers do.

``BENCH_HANDLER`` is ``upsert`` (the peers' table and statement), ``record`` (the metrics
worker's own, which also writes the outbox) or ``nothing``; ``BENCH_BATCH`` the batch's size.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import text

from events import CampaignMetricsReported
from events.envelope import Event
from handlers.metrics import record_metrics
from infra.messaging.context import Context
from infra.messaging.subscription import Handler, Subscription
from infra.process import main
from workers.metrics import SUBSCRIPTIONS

UPSERT = text("""
    insert into bench_metrics as m
    select * from unnest(
        cast(:ids as uuid[]), cast(:platforms as text[]), cast(:dates as date[]),
        cast(:impressions as bigint[]), cast(:clicks as bigint[]), cast(:conversions as bigint[]),
        cast(:spend as numeric[]), cast(:times as timestamptz[])
    )
    on conflict (campaign_id, date) do update set
        impressions = excluded.impressions, clicks = excluded.clicks,
        conversions = excluded.conversions, spend = excluded.spend, at = excluded.at
    where m.at <= excluded.at
""")


async def upsert(events: list[CampaignMetricsReported], ctx: Context) -> Sequence[Event]:
    """Upsert the newest report of each campaign and day."""
    newest: dict[tuple[UUID, date], CampaignMetricsReported] = {}
    for event in events:
        data = event.data
        # The bench's campaigns have the same id on their platform.
        key = data.campaign_id or UUID(data.platform_campaign_id), data.date
        if key not in newest or newest[key].time <= event.time:
            newest[key] = event
    rows = [(event.data, event.time) for event in newest.values()]
    columns = {
        "ids": [campaign_id for campaign_id, _ in newest],
        "platforms": [data.platform for data, _ in rows],
        "dates": [data.date for data, _ in rows],
        "impressions": [data.impressions for data, _ in rows],
        "clicks": [data.clicks for data, _ in rows],
        "conversions": [data.conversions for data, _ in rows],
        "spend": [data.spend for data, _ in rows],
        "times": [time for _, time in rows],
    }
    await ctx.tx.execute(UPSERT, columns)
    return ()


async def nothing(_events: list[CampaignMetricsReported], _ctx: Context) -> Sequence[Event]:
    """Leave the events at that: what a handler finds done for it."""
    return ()


HANDLERS: Mapping[str, Handler[Any]] = {
    "upsert": upsert,
    "record": record_metrics,
    "nothing": nothing,
}

if __name__ == "__main__":
    (own,) = SUBSCRIPTIONS
    batch = int(os.environ.get("BENCH_BATCH", own.batch))
    handler = HANDLERS[os.environ.get("BENCH_HANDLER", "record")]
    main("metrics", (Subscription(own.queue, own.events, handler, batch=batch),))
