"""A worker process whose every effect can be counted: ``python -m tests.chaos.worker``.

A line in the ledger and one caused event for each event that it handles. What an event's
number makes of it is in ``fate``, so that a test knows beforehand where each must end.
"""

import asyncio
import os
from collections.abc import Sequence

from sqlalchemy import text

from events import CampaignMetricsRecorded, CampaignMetricsReported
from events.envelope import Event
from infra.errors import Permanent, Transient
from infra.messaging.context import Context
from infra.messaging.digest import content_digest
from infra.messaging.subscription import Subscription
from infra.process import main
from tests.chaos.fate import Fate, fate
from tests.infra.ledger import EVENTS, QUEUE

SECONDS = float(os.environ.get("CHAOS_SECONDS", "0"))
BATCH = int(os.environ.get("CHAOS_BATCH", "50"))
CREATE = """
    create table chaos_ledger (
        event_id text not null, digest text not null, worker integer not null,
        at timestamptz not null default clock_timestamp()
    )
"""
CREATE_NEWEST = "create table chaos_newest (key integer primary key, version integer not null)"
WRITE = text("""
    insert into chaos_ledger (event_id, digest, worker)
    select *, :worker from unnest(cast(:ids as text[]), cast(:digests as text[]))
""")
# Versions come in any order; the newest must stay. One row a key, as one statement demands.
NEWEST = text("""
    insert into chaos_newest (key, version)
    select key, max(version)
    from unnest(cast(:keys as integer[]), cast(:versions as integer[])) as came (key, version)
    group by key order by key
    on conflict (key) do update set version = excluded.version
    where chaos_newest.version < excluded.version
""")
KEYS = 7


async def handle(events: list[CampaignMetricsReported], ctx: Context) -> Sequence[Event]:
    """Write the ledger, or fail as the events' numbers say."""
    poison = [event for event in events if fate(event.data.impressions) is Fate.POISON]
    if poison:
        raise Permanent("the number is poison", events=poison, code="POISON")
    stubborn = [event for event in events if fate(event.data.impressions) is Fate.STUBBORN]
    if stubborn:
        raise Transient("the number is stubborn", events=stubborn, within=2)
    numbers = [event.data.impressions for event in events]
    caused = [_recorded(event) for event in events]
    ids, digests = [event.id for event in events], [content_digest(event).hex for event in events]
    ledger = {"worker": os.getpid(), "ids": ids, "digests": digests}
    await ctx.tx.execute(WRITE, ledger)
    newest = {"keys": [n % KEYS for n in numbers], "versions": numbers}
    await ctx.tx.execute(NEWEST, newest)
    await asyncio.sleep(SECONDS)
    return caused


def _recorded(event: CampaignMetricsReported) -> Event:
    data = {
        "campaign_id": "00000000-0000-4000-8000-000000000000",
        "platform": "claude",
        "date": event.data.date,
        "impressions": event.data.impressions,
        "clicks": 0,
        "conversions": 0,
        "spend_micros": 0,
        "events": (event.id,),
    }
    return CampaignMetricsRecorded.caused_by(event, source="urn:chaos", data=data)


SUBSCRIPTIONS = (Subscription(QUEUE, EVENTS, handle, batch=BATCH),)

if __name__ == "__main__":
    main("metrics", SUBSCRIPTIONS)
