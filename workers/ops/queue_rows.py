"""Derives the lines of queues from samples: state, rates, backlog, time to drain. Pure.

A queue's rate out is what its handler has handled, by the marks of the inbox; its rate in is that
plus what its backlog has grown by. The relay counts the backlog every five seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from infra.messaging.pause_commands import REQUEST_QUEUES
from infra.messaging.queue_overview import QUEUE_NAMES
from schemas.queues import PauseSummary, QueueOverview, QueueState, QueueSummary
from workers.ops.format import format_count, format_duration, format_rate
from workers.ops.process_metrics import sum_samples
from workers.ops.sampler import RATE_SECONDS, Sample

# Icon and word of each state.
STATES: dict[QueueState, tuple[str, str]] = {
    "reading": ("ok", "Running"),
    "unread": ("bad", "No consumer"),
    "paused": ("paused", "Paused"),
    "stopped": ("bad", "Stopped"),
    "unknown": ("unknown", "Not known"),
}
GROWTH_WINDOW = timedelta(seconds=12)  # in which the relay has counted at least twice
NOT_KNOWN = "not known"


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue as people read it; rates are per second, None is not known."""

    summary: QueueSummary
    icon: str
    word: str
    rate_in: float | None
    rate_out: float | None
    in_hand: int | None
    waiting: Sequence[int]  # in the last five minutes, oldest first

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.summary.name

    @property
    def pause(self) -> PauseSummary | None:
        """Why it is not read."""
        return self.summary.pause

    @property
    def can_pause(self) -> bool:
        """Whether its messages may wait: requests expire."""
        return self.name not in REQUEST_QUEUES

    @property
    def drain_seconds(self) -> float | None:
        """How long the handler needs for what waits, at its present rate; None: not known."""
        if self.summary.ready == 0:
            return 0.0
        if self.summary.ready is None or not self.rate_out:
            return None
        return self.summary.ready / self.rate_out

    @property
    def drained_in(self) -> str:
        """Write how long the handler needs for what waits."""
        if self.summary.state in {"paused", "stopped"}:
            return self.word.lower()
        seconds = self.drain_seconds
        if seconds is None:
            stands = self.summary.ready is not None and self.rate_out == 0
            return "nothing is handled" if stands else NOT_KNOWN
        if seconds == 0:
            return "0 s"
        return "< 1 s" if seconds < 1 else format_duration(round(seconds))

    @property
    def cells(self) -> dict[str, str]:
        """The texts of the line's cells that change, by column."""
        summary = self.summary
        return {
            "in": write_rate(self.rate_in),
            "out": write_rate(self.rate_out),
            "waiting": write_count(summary.ready),
            "drain": self.drained_in,
            "in_hand": write_count(self.in_hand),
            "retrying": write_count(summary.retrying),
            "dead": write_count(summary.dead),
            "consumers": write_count(summary.consumers),
        }


def build_rows(history: Sequence[Sample]) -> list[QueueRow]:
    """Build the line of every queue; none while Postgres does not answer."""
    if not history or history[-1].overview is None:
        return []
    newest = history[-1]
    overview = history[-1].overview
    before = _find_before(history, overview)
    return [_build_row(queue, newest, before, history) for queue in overview.queues]


def write_count(number: int | None) -> str:
    """Write a number, or that it is not known."""
    return NOT_KNOWN if number is None else format_count(number)


def write_rate(rate: float | None) -> str:
    """Write a rate, or that it is not known."""
    return NOT_KNOWN if rate is None else format_rate(rate)


def find_queue(overview: QueueOverview | None, name: str) -> QueueSummary | None:
    """Find a queue by its name."""
    if overview is None or name not in QUEUE_NAMES:
        return None
    return next(queue for queue in overview.queues if queue.name == name)


def _build_row(
    queue: QueueSummary, newest: Sample, before: QueueOverview | None, history: Sequence[Sample]
) -> QueueRow:
    icon, word = STATES[queue.state]
    is_marked = newest.handled is not None and queue.name not in REQUEST_QUEUES
    out = (newest.handled or {}).get(queue.name, 0) / RATE_SECONDS if is_marked else None
    found = (find_queue(sample.overview, queue.name) for sample in history)
    waiting = [one.ready for one in found if one is not None and one.ready is not None]
    growth = _find_growth(queue, newest.overview, before)
    rate_in = None if out is None or growth is None else max(0.0, out + growth)
    in_hand = _count_in_hand(newest, queue.name)
    return QueueRow(queue, icon, word, rate_in, out, in_hand, waiting)


def _count_in_hand(newest: Sample, queue: str) -> int | None:
    """Count the deliveries that processes have in hand; None where no process tells."""
    name = "adrelay_messages_in_hand"
    found = [sum_samples(one.samples, name, queue=queue) for one in newest.processes]
    known = [int(number) for number in found if number is not None]
    return sum(known) if known else None


def _find_growth(
    queue: QueueSummary, now: QueueOverview | None, before: QueueOverview | None
) -> float | None:
    """Find how much a backlog grows per second; None where the relay has not counted twice."""
    former = find_queue(before, queue.name)
    if now is None or before is None or former is None:
        return None
    if now.counted_at is None or before.counted_at is None:
        return None
    seconds = (now.counted_at - before.counted_at).total_seconds()
    if seconds <= 0 or queue.ready is None or former.ready is None:
        return None
    return (queue.ready - former.ready) / seconds


def _find_before(history: Sequence[Sample], newest: QueueOverview) -> QueueOverview | None:
    """Find the oldest counts that are young enough for the mean of a rate."""
    for sample in history:
        overview = sample.overview
        if overview is None or overview.counted_at is None or newest.counted_at is None:
            continue
        if newest.counted_at - overview.counted_at <= GROWTH_WINDOW:
            return overview
    return None
