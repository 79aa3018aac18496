"""Queries for what the ingress has counted of webhooks, over all its processes and restarts.

Every few seconds each process of the ingress adds what its own counters have grown by, so both
tables stay small: a row for each source, counter and label, and one more for each hour (UTC) of
the last week.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

WEEK = timedelta(days=7)
ADD_TO_TOTALS = text("""
    insert into webhook_totals as kept (source, counter, label, webhooks, last_at, address)
    values (:source, :counter, :label, :webhooks, :last_at, :address)
    on conflict (source, counter, label) do update set
        webhooks = kept.webhooks + excluded.webhooks,
        last_at = greatest(kept.last_at, excluded.last_at),
        address = coalesce(excluded.address, kept.address)
""")
ADD_TO_HOURS = text("""
    insert into webhook_hours as kept (source, counter, label, hour, webhooks)
    values (:source, :counter, :label, date_trunc('hour', cast(:last_at as timestamptz), 'UTC'),
            :webhooks)
    on conflict (source, counter, label, hour) do update set
        webhooks = kept.webhooks + excluded.webhooks
""")
DROP_SLOTS = text("""
    delete from webhook_totals
    where source = :source and counter = 'slot' and cast(label as integer) > :slots
""")
LIST_DAY = text("""
    select total.source, total.counter, total.label, total.last_at, total.address,
        coalesce(sum(hours.webhooks), 0)::bigint as webhooks
    from webhook_totals as total
    left join webhook_hours as hours
        on (hours.source, hours.counter, hours.label)
            = (total.source, total.counter, total.label)
        and hours.hour > cast(:since as timestamptz)
    group by total.source, total.counter, total.label
    order by total.source, total.counter, total.label
""")
READ_ACCEPTED = text("""
    select total.source, total.webhooks as total, total.last_at,
        coalesce(sum(hours.webhooks), 0)::bigint as week, min(hours.hour) as since
    from webhook_totals as total
    left join webhook_hours as hours
        on hours.source = total.source
        and hours.counter = 'outcome' and hours.label = 'accepted'
        and hours.hour > cast(:since as timestamptz)
    where total.counter = 'outcome' and total.label = 'accepted'
    group by total.source, total.counter, total.label
""")


@dataclass(frozen=True, slots=True)
class WebhookCount:
    """Webhooks of a source that a counter (``outcome``, ``slot`` ...) counts under a label.

    ``last_at`` is the time of the newest one (UTC), None before the first; ``address`` that of its
    sender, where it is kept.
    """

    source: str
    counter: str
    label: str
    webhooks: int
    last_at: datetime | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class AcceptedWebhooks:
    """What a source has sent: in all, and in the hours of the last week from ``since`` on (UTC)."""

    total: int
    last_at: datetime | None
    week: int = 0
    since: datetime | None = None

    @property
    def usual_gap(self) -> float | None:
        """Seconds between two webhooks in the last week, a mean; None without any."""
        if not self.week or self.since is None or self.last_at is None:
            return None
        return max(0.0, (self.last_at - self.since).total_seconds()) / self.week


async def add_counts(tx: AsyncConnection, counts: Sequence[WebhookCount]) -> None:
    """Add to the totals and to the hours of ``last_at``; one without any begins at 0."""
    rows = [
        {name: getattr(count, name) for name in WebhookCount.__slots__}
        for count in sorted(counts, key=lambda one: (one.source, one.counter, one.label))
    ]
    if rows:
        await tx.execute(ADD_TO_TOTALS, rows)
    if hours := [row for row in rows if row["last_at"] is not None]:
        await tx.execute(ADD_TO_HOURS, hours)


async def set_slots(tx: AsyncConnection, slots: Mapping[str, int]) -> None:
    """Begin the secret slots of each source at 0, and drop those that it has no longer."""
    for source, number in sorted(slots.items()):
        await tx.execute(DROP_SLOTS, {"source": source, "slots": number})
    await add_counts(
        tx,
        [
            WebhookCount(source, "slot", str(slot), 0)
            for source, number in slots.items()
            for slot in range(1, number + 1)
        ],
    )


async def list_counts(tx: AsyncConnection, since: datetime) -> list[WebhookCount]:
    """List what was counted in the hours after ``since`` (aware), with the newest time of all."""
    rows = await tx.execute(LIST_DAY, {"since": since})
    return [WebhookCount(**row) for row in rows.mappings()]


async def read_accepted(tx: AsyncConnection, now: datetime) -> dict[str, AcceptedWebhooks]:
    """Read what each source has sent, by source; ``now`` is aware."""
    rows = await tx.execute(READ_ACCEPTED, {"since": now - WEEK})
    return {row.source: AcceptedWebhooks(*row[1:]) for row in rows}
