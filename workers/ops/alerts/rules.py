"""The alerts that the console can judge by its own samples, for an installation without Prometheus.

Names, severities, limits and times are those of ``infra/dashboards/alerts.yaml``; a test compares
them. Alerts on rates over hours and on what only a process knows need Prometheus.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from infra.amqp import topology
from workers.ops.alert import Severity
from workers.ops.format import format_count, format_duration
from workers.ops.process_rows import build_breaker_rows
from workers.ops.queue_rows import QueueRow, build_rows
from workers.ops.sampler import Sample

MINUTE, HOUR = 60, 3600  # seconds
MAX_DRAIN = 300  # seconds
MAX_OUTBOX_AGE = 60  # seconds
MAX_CHECK_AGE = 60  # seconds


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """What a rule has found: on what, in words; ``since`` (UTC) where that is known."""

    subject: str
    summary: str
    label: str = ""  # the name of the label that the subject is
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class AlertRule:
    """A rule: what it finds has to be so for ``hold`` seconds before the alert fires."""

    name: str
    severity: Severity
    hold: float
    find: Callable[[Sample, Sequence[QueueRow]], Iterable[RuleFinding]]


def find_all(history: Sequence[Sample]) -> Iterator[tuple[AlertRule, RuleFinding]]:
    """Find what each rule sees in the newest sample, whose database must have answered."""
    rows = build_rows(history)
    for rule in RULES:
        for finding in rule.find(history[-1], rows):
            yield rule, finding


def _dead_letters(_: Sample, rows: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    for row in rows:
        if row.summary.dead:
            number = format_count(row.summary.dead)
            yield RuleFinding(row.name, f"{row.name} has {number} open dead letters", "queue")


def _no_consumer(_: Sample, rows: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    for row in rows:
        if row.summary.state == "unread":
            waiting = f"{format_count(row.summary.ready or 0)} messages wait in it"
            yield RuleFinding(row.name, f"No consumer reads {row.name}; {waiting}", "queue")


def _stopped(_: Sample, rows: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    for row in rows:
        if row.summary.state == "stopped":
            why = "most of its events fail in Adrelay's own code"
            yield RuleFinding(row.name, f"{row.name} is stopped: {why}", "queue")


def _paused(sample: Sample, _: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    for pause in sample.pauses:
        if pause.code_version is None:
            name = f"account {pause.account} at {pause.name}" if pause.account else pause.name
            summary = f"{pause.kind} {pause.name} is paused for more than an hour"
            yield RuleFinding(f"{pause.kind} {name}", summary, since=pause.paused_at)


def _backlog(_: Sample, rows: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    for row in rows:
        seconds = row.drain_seconds
        if row.pause is None and seconds is not None and seconds > MAX_DRAIN:
            summary = f"What waits in {row.name} needs {format_duration(round(seconds))}"
            yield RuleFinding(row.name, summary, "queue")


def _breaker_open(sample: Sample, _: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    for row in build_breaker_rows(sample.processes):
        if row.icon in {"warn", "bad"}:  # half-open is no recovery
            summary = f"Calls to {row.platform} fail for 15 minutes"
            yield RuleFinding(row.platform, summary, "platform")


def _outbox_stuck(sample: Sample, _: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    if sample.outbox is not None and sample.outbox.oldest > MAX_OUTBOX_AGE:
        age = format_duration(round(sample.outbox.oldest))
        yield RuleFinding("outbox", f"The oldest outbox row waits for {age}")


def _outbox_parked(sample: Sample, _: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    if sample.outbox is not None and sample.outbox.parked:
        rows = format_count(sample.outbox.parked)
        yield RuleFinding("outbox", f"{rows} outbox rows can never be published")


def _unrouted(sample: Sample, _: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    count = sample.counts.by_queue.get(topology.UNROUTED)
    if count is not None and count.ready:
        yield RuleFinding(
            "unrouted", f"{format_count(count.ready)} messages were bound for no queue"
        )


def _path_broken(sample: Sample, _: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    for path in sorted(sample.flow.routing.broken if sample.flow else ()):
        yield RuleFinding(path, f"The broker lacks a part of the path to {path}", "path")


def _paths_to_recover(sample: Sample, _: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    routing = sample.flow.routing if sample.flow else None
    if routing is not None and routing.lost_paths and not routing.broken:
        number = format_count(len(routing.lost_paths))
        told = "paths were broken; what was accepted meanwhile is in the log alone"
        yield RuleFinding("paths", f"{number} {told}")


def _paths_unknown(sample: Sample, _: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    checked_at = sample.flow.routing.checked_at if sample.flow else None
    if checked_at is not None:  # None where no relay has a management API to ask
        age = (sample.at - checked_at).total_seconds()
        if age > MAX_CHECK_AGE:
            summary = f"No relay has checked the paths for {format_duration(round(age))}"
            yield RuleFinding("paths", summary)


def _unwatched(sample: Sample, _: Sequence[QueueRow]) -> Iterator[RuleFinding]:
    if sample.redis and sample.counts.counted_at is None:
        summary = "No relay counts what waits, so other alerts see nothing"
        yield RuleFinding("relay", summary)


RULES: tuple[AlertRule, ...] = (
    AlertRule("AdrelayNoConsumer", "page", 2 * MINUTE, _no_consumer),
    AlertRule("AdrelayQueueStopped", "page", 15, _stopped),
    AlertRule("AdrelayPaused", "ticket", HOUR, _paused),
    AlertRule("AdrelayBacklog", "page", 5 * MINUTE, _backlog),
    AlertRule("AdrelayDeadLetters", "ticket", MINUTE, _dead_letters),
    AlertRule("AdrelayBreakerOpen", "ticket", 15 * MINUTE, _breaker_open),
    AlertRule("AdrelayOutboxStuck", "page", 2 * MINUTE, _outbox_stuck),
    AlertRule("AdrelayOutboxParked", "ticket", MINUTE, _outbox_parked),
    AlertRule("AdrelayUnrouted", "ticket", MINUTE, _unrouted),
    AlertRule("AdrelayPathBroken", "page", 0, _path_broken),
    AlertRule("AdrelayPathsToRecover", "ticket", MINUTE, _paths_to_recover),
    AlertRule("AdrelayPathsUnknown", "ticket", MINUTE, _paths_unknown),
    AlertRule("AdrelayUnwatched", "page", 2 * MINUTE, _unwatched),
)
