"""Derives the lines of the platforms from samples: calls, their time, what waits, pauses. Pure.

The sync processes count their calls since they were started. What a page shows is how much that
has grown in the samples of the last minutes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.metrics import PLATFORM_OUTCOMES
from schemas.queues import PauseSummary, QueueSummary
from workers.ops.format import format_count, format_duration
from workers.ops.process_metrics import MetricSamples, sum_samples
from workers.ops.process_rows import PUSHING, BreakerRow, build_breaker_rows
from workers.ops.processes import ProcessReport
from workers.ops.queue_rows import NOT_KNOWN, find_queue, write_count
from workers.ops.sampler import Sample

CALLS = "adrelay_platform_calls_total"
BUCKETS = "adrelay_platform_call_seconds_bucket"
TITLES = {"claude": "Claude Ads", "chatgpt": "ChatGPT Ads", "gemini": "Gemini Ads"}
# How an outcome counts, and its word: refused and gone are answers of a platform that works.
OUTCOMES = {
    "done": ("ok", "done"),
    "refused": ("warn", "refused"),
    "gone": ("warn", "gone there"),
    "snoozed": ("rest", "put off"),
    "failed": ("bad", "failed"),
}


@dataclass(frozen=True, slots=True)
class PlatformCalls:
    """Calls of the last ``seconds`` by outcome, and the upper bounds of their time in seconds.

    ``p50`` and ``p99`` are estimates from the buckets of a histogram: None without a call,
    infinite beyond its last bound.
    """

    seconds: float
    outcomes: Mapping[str, int]
    p50: float | None
    p99: float | None

    @property
    def number(self) -> int:
        """All calls."""
        return sum(self.outcomes.values())

    @property
    def shares(self) -> list[tuple[str, float]]:
        """Parts of 100 by state, for a meter."""
        return [
            (OUTCOMES[name][0], 100 * count / self.number)
            for name, count in self.outcomes.items()
            if count
        ]

    @property
    def words(self) -> str:
        """The calls by outcome in words."""
        found = [
            f"{format_count(count)} {OUTCOMES[name][1]}"
            for name, count in self.outcomes.items()
            if count
        ]
        return ", ".join(found) or "none"


@dataclass(frozen=True, slots=True)
class PlatformRow:
    """A platform as people read it; None is not known. ``pause`` says who holds it up, and why."""

    name: str
    breaker: BreakerRow
    queue: QueueSummary | None
    pause: PauseSummary | None
    calls: PlatformCalls | None

    @property
    def title(self) -> str:
        """The platform's own name."""
        return TITLES.get(self.name, self.name)

    @property
    def icon(self) -> str:
        """The state: ok, bad, warn, paused or unknown."""
        if self.pause is not None:
            return "bad" if self.pause.code_version else "paused"
        if self.queue is not None and self.queue.state == "unread":
            return "bad"
        return self.breaker.icon

    @property
    def word(self) -> str:
        """The state in words."""
        if self.pause is not None:
            return "Stopped" if self.pause.code_version else "Paused"
        if self.queue is not None and self.queue.state == "unread":
            return "No consumer"
        return {"ok": "Pushing", "bad": "Failing", "warn": "Probing"}.get(self.icon, "Not known")

    @property
    def cells(self) -> dict[str, str]:
        """The texts of the line's cells that change, by column."""
        calls = self.calls
        return {
            "calls": NOT_KNOWN if calls is None else calls.words,
            "p50": write_quantile(calls, 50),
            "p99": write_quantile(calls, 99),
            "waiting": write_count(None if self.queue is None else self.queue.ready),
        }


def build_platform_rows(history: Sequence[Sample]) -> list[PlatformRow]:
    """Build the line of every platform from the samples of the last minutes, the newest last."""
    if not history:
        return []
    newest = history[-1]
    spans = find_spans([sample.processes for sample in history])
    rows = []
    for breaker in build_breaker_rows(newest.processes):
        queue = find_queue(newest.overview, f"sync.{breaker.platform}")
        pause = None if queue is None else queue.pause
        calls = count_calls(breaker.platform, spans)
        rows.append(PlatformRow(breaker.platform, breaker, queue, pause, calls))
    return rows


@dataclass(frozen=True, slots=True)
class Span:
    """What a process said first and last; ``before`` is empty if it has started since."""

    before: MetricSamples
    after: MetricSamples
    seconds: float


def find_spans(history: Sequence[Sequence[ProcessReport]]) -> list[Span]:
    """Find the first and the last report of each sync process that answers now."""
    began = next((reports[0].at for reports in history if reports), None)
    spans = []
    for last in history[-1] if history else ():
        if last.name != PUSHING or last.trouble or began is None:
            continue
        same = (
            report
            for reports in history
            for report in reports
            if report.address == last.address and report.started_at == last.started_at
        )
        first = next(report for report in same if not report.trouble)
        is_new = last.started_at is not None and last.started_at > began
        since = began if is_new else first.at
        before: MetricSamples = {} if is_new else first.samples
        spans.append(Span(before, last.samples, (last.at - since).total_seconds()))
    return spans


def count_calls(platform: str, spans: Sequence[Span]) -> PlatformCalls | None:
    """Count the calls to a platform that fell into spans; None where no process is known."""
    seconds = max((span.seconds for span in spans), default=0.0)
    if seconds <= 0:
        return None
    outcomes = {
        outcome: round(_sum_growth(spans, CALLS, platform=platform, outcome=outcome))
        for outcome in PLATFORM_OUTCOMES
    }
    bounds = {
        float(sample.labels["le"]): sample.labels["le"]
        for span in spans
        for sample in span.after.get(BUCKETS, ())
    }
    counts = [
        (bound, _sum_growth(spans, BUCKETS, platform=platform, le=text))
        for bound, text in sorted(bounds.items())
    ]
    return PlatformCalls(
        seconds, outcomes, estimate_quantile(counts, 0.5), estimate_quantile(counts, 0.99)
    )


def estimate_quantile(buckets: Sequence[tuple[float, float]], quantile: float) -> float | None:
    """Estimate a quantile from cumulative buckets as Prometheus' ``histogram_quantile`` does.

    None without a value; infinite beyond the last bound.
    """
    total = buckets[-1][1] if buckets else 0.0
    if total <= 0:
        return None
    rank, lower, below = quantile * total, 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below:
            part = (rank - below) / (count - below)
            return bound if math.isinf(bound) else lower + (bound - lower) * part
        lower, below = bound, count
    return math.inf


def write_quantile(calls: PlatformCalls | None, percent: int) -> str:
    """Write the 50th or 99th percentile of the time of calls."""
    if calls is None:
        return NOT_KNOWN
    seconds = calls.p50 if percent == 50 else calls.p99  # noqa: PLR2004 - the median
    if seconds is None:
        return "none"
    return "> 30 s" if math.isinf(seconds) else format_duration(seconds)


def build_lede(rows: Sequence[PlatformRow]) -> str:
    """Answer the page's question in one sentence."""
    well = [row.name for row in rows if row.icon == "ok"]
    if rows and len(well) == len(rows):
        return f"Pushes go to all {len(rows)} platforms."
    parts = []
    for row in rows:
        if row.icon == "ok":
            continue
        if row.pause is not None:
            parts.append(f"{row.name} is {row.word.lower()} by {row.pause.paused_by}")
        elif row.word == "No consumer":
            parts.append(f"no process reads the lane of {row.name}")
        elif row.icon == "unknown":
            parts.append(f"the state of {row.name} is not known")
        else:
            parts.append(f"the circuit breaker of {row.name} is {row.breaker.word.lower()}")
    return f"Pushes go to {len(well)} of {len(rows)} platforms: {'; '.join(parts)}."


def _sum_growth(spans: Sequence[Span], name: str, **labels: str) -> float:
    return sum(
        max(
            0.0,
            (sum_samples(span.after, name, **labels) or 0.0)
            - (sum_samples(span.before, name, **labels) or 0.0),
        )
        for span in spans
    )
