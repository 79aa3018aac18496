"""Builds the boxes of the flow picture, each from what a sample knows. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.amqp import topology
from infra.platforms import PLATFORMS
from schemas.escaping import escape
from schemas.types import Platform
from workers.ops.flow.entries import AMQP, API, ENTRIES, EVENTS, WEBHOOKS, AcceptedRates
from workers.ops.format import format_count, format_duration, format_rate
from workers.ops.process_rows import build_breaker_rows
from workers.ops.queue_rows import QueueRow
from workers.ops.sampler import RATE_SECONDS, Sample

NOT_KNOWN = "not known"
MAX_NOTE = 28  # characters that a box has room for
MAX_PLATFORM_NOTE = 17
MAX_COUNT_AGE = 15.0  # seconds
TITLES: Mapping[str, tuple[str, str]] = {
    API: ("HTTP API", "/operations"),
    EVENTS: ("HTTP events", "/events"),
    WEBHOOKS: ("Webhooks", "/webhooks"),
    AMQP: ("AMQP publishers", "/events"),
}


@dataclass(frozen=True, slots=True)
class FlowNode:
    """A box: title, link, figure and a line below; ``state`` is empty where all is well.

    ``rate`` (per second) is what its line carries; None where that is not known.
    """

    key: str
    title: str
    path: str
    value: str = ""
    note: str = ""
    state: str = ""
    rate: float | None = None


def write_per_second(rate: float | None) -> str:
    """Write a rate with its unit, or that it is not known."""
    if rate is None:
        return NOT_KNOWN
    text = format_rate(rate)
    return text if text.endswith("minute") else f"{text}/s"


def build_entry_nodes(rates: AcceptedRates | None) -> list[FlowNode]:
    """Build the four entries."""
    return [_build_entry(entry, rates) for entry in ENTRIES]


def build_events_node(rates: AcceptedRates | None) -> FlowNode:
    """Build the exchange that every event passes."""
    exchange = topology.EVENTS_EXCHANGE
    if rates is None:
        return FlowNode("events-exchange", exchange, "/events", NOT_KNOWN, "", "unknown")
    caused, accepted = format_rate(rates.caused), format_rate(rates.accepted)
    note = f"{accepted} accepted, {caused} caused"
    total = write_per_second(rates.total)
    return FlowNode("events-exchange", exchange, "/events", total, note, rate=rates.total)


def build_unrouted_node(sample: Sample) -> FlowNode:
    """Build the queue of what no other queue took."""
    count = sample.counts.by_queue.get(topology.UNROUTED)
    if count is None:
        return FlowNode("unrouted", topology.UNROUTED, "/queues", NOT_KNOWN, "", "unknown")
    state = "warn" if count.ready else ""
    return FlowNode("unrouted", topology.UNROUTED, "/queues", format_count(count.ready), "", state)


def build_worker_node(name: str, rows: Sequence[QueueRow], sample: Sample) -> FlowNode:
    """Build a worker: how many of its processes are ready, else the consumers of its queues."""
    key, path = f"worker.{name}", "/queues#processes"
    state = "bad" if any(row.summary.state == "unread" for row in rows) else ""
    reports = [one.readiness for one in sample.processes if one.name == name]
    known = [one for one in reports if one is not None]
    if known:
        ready = sum(one.ready for one in known)
        value = f"{ready} of {len(reports)} ready"
        return FlowNode(key, name, path, value, state=state or "bad" * (ready < len(reports)))
    counts = [row.summary.consumers for row in rows if row.summary.consumers is not None]
    if not counts:
        return FlowNode(key, name, path, NOT_KNOWN, state="unknown")
    number = sum(counts)
    value = "1 consumer" if number == 1 else f"{number} consumers"
    return FlowNode(key, name, path, value, state=state)


def build_postgres_node(sample: Sample) -> FlowNode:
    """Build the database: what its handlers have committed."""
    if not sample.database or sample.handled is None:
        return FlowNode("postgres", "Postgres", "", "no answer", state="bad")
    number = sum(sample.handled.get(queue, 0) for queue in topology.DATABASE_QUEUES)
    rate = number / RATE_SECONDS
    return FlowNode("postgres", "Postgres", "", f"{write_per_second(rate)} handled", rate=rate)


def build_platform_node(platform: Platform, row: QueueRow | None, sample: Sample) -> FlowNode:
    """Build a platform: what its lane hands over, and why it puts events off."""
    title = PLATFORMS[platform].TITLE
    key, path = f"platform.{platform}", f"/queues#queue-sync.{platform}"
    if row is None:
        return FlowNode(key, title, path, NOT_KNOWN, state="unknown")
    value, rate = write_per_second(row.rate_out), row.rate_out
    if row.pause is not None:
        return FlowNode(key, title, path, "paused", state="paused", rate=rate)
    for breaker in build_breaker_rows(sample.processes):
        if breaker.platform == platform and breaker.icon in {"warn", "bad"}:
            told = f"breaker {breaker.word.lower()}"
            return FlowNode(key, title, path, told, state=breaker.icon, rate=rate)
    snoozed = sample.flow.put_off.snoozed.get(row.name) if sample.flow else None
    if snoozed is not None:
        reason = escape(snoozed.removeprefix(title).strip(), MAX_PLATFORM_NOTE)
        return FlowNode(key, title, path, reason, state="warn", rate=rate)
    return FlowNode(key, title, path, value, rate=rate)


def build_relay_node(sample: Sample, rates: AcceptedRates | None) -> FlowNode:
    """Build the relay: what it publishes, and when it has counted the queues."""
    value = write_per_second(None if rates is None else rates.relayed)
    rate = None if rates is None else rates.relayed
    counted_at = sample.counts.counted_at
    if counted_at is None:
        return FlowNode("relay", "relay", "/queues", value, "counts no queues", "warn", rate)
    age = max(0.0, (sample.at - counted_at).total_seconds())
    note = f"counted {format_duration(round(age))} ago"
    state = "warn" if age > MAX_COUNT_AGE else ""
    return FlowNode("relay", "relay", "/queues", value, note, state, rate)


def build_retry_node(sample: Sample) -> FlowNode:
    """Build the retry ladder: how many events wait in all tiers."""
    if sample.overview is None:
        return FlowNode("retry", "Retry ladder", "/queues", NOT_KNOWN, state="unknown")
    number = sum(queue.retrying for queue in sample.overview.queues)
    return FlowNode("retry", "Retry ladder", "/queues", f"{format_count(number)} wait")


def build_dead_node(sample: Sample) -> FlowNode:
    """Build the dead letters: open ones, and those of the last hours."""
    if sample.dead is None or sample.flow is None:
        return FlowNode("dead", "Dead letters", "/dead-letters", NOT_KNOWN, "", "unknown")
    note = f"{format_count(sample.flow.dead_letters)} since {name_counted_hour(sample.at)}"
    state = "bad" if sample.dead else ""
    value = format_count(sample.dead)
    return FlowNode("dead", "Dead letters", "/dead-letters", value, note, state)


def name_counted_hour(at: datetime) -> str:
    """Name the hour (UTC) from which on dead letters are counted: the one before this."""
    return f"{at - timedelta(hours=1):%H}:00"


def build_outbox_node(sample: Sample) -> FlowNode:
    """Build the outbox: rows, the age of the oldest, parked ones."""
    if sample.outbox is None:
        return FlowNode("outbox", "Outbox", "", NOT_KNOWN, "", "unknown")
    outbox = sample.outbox
    parked = f"{format_count(outbox.parked)} parked" if outbox.parked else "none parked"
    note = f"oldest {format_duration(outbox.oldest)}, {parked}"
    value = "1 row" if outbox.waiting == 1 else f"{format_count(outbox.waiting)} rows"
    return FlowNode("outbox", "Outbox", "", value, note, "warn" if outbox.parked else "")


def _build_entry(entry: str, rates: AcceptedRates | None) -> FlowNode:
    title, path = TITLES[entry]
    if rates is None:
        return FlowNode(entry, title, path, NOT_KNOWN, "not counted now", "unknown")
    rate = rates.by_entry.get(entry, 0.0)
    outbox = rates.by_outbox.get(entry, 0.0)
    value, note = write_per_second(rate), _describe_parts(rates.parts.get(entry, {}))
    if outbox:
        note = f"{write_per_second(outbox)} by the outbox"
    elif not note:
        note = "all confirmed" if rate else "nothing in the last 10 s"
    return FlowNode(entry, title, path, value, note, "warn" if outbox else "", rate)


def _describe_parts(parts: Mapping[str, float]) -> str:
    """Name the largest senders with their rates, as many as there is room for."""
    text = ""
    for name, rate in parts.items():
        longer = f"{text}, " * bool(text) + f"{escape(name, MAX_NOTE)} {format_rate(rate)}"
        if len(longer) > MAX_NOTE:
            return f"{text}, …" if text else escape(longer, MAX_NOTE)
        text = longer
    return text
