"""The lines of platforms: calls of the last minutes, quantiles, what is not known."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from schemas.queues import PauseSummary, QueueOverview, QueueSummary
from workers.ops.platform_rows import (
    build_lede,
    build_platform_rows,
    count_calls,
    estimate_quantile,
    find_spans,
)
from workers.ops.process_metrics import parse_metrics
from workers.ops.processes import ProcessReport
from workers.ops.sampler import Sample

BEGIN = datetime(2026, 11, 29, 14, tzinfo=UTC)
STARTED = datetime(2026, 11, 29, 8, tzinfo=UTC)


def report(
    second: float,
    *,
    done: int = 0,
    failed: int = 0,
    fast: int = 0,
    breaker: int = 0,
    host: str = "a:1",
    started: datetime = STARTED,
    name: str = "sync",
    trouble: str = "",
) -> ProcessReport:
    lines = [
        f'adrelay_platform_calls_total{{platform="claude",outcome="done"}} {done}',
        f'adrelay_platform_calls_total{{platform="claude",outcome="failed"}} {failed}',
        f'adrelay_platform_call_seconds_bucket{{platform="claude",le="0.1"}} {fast}',
        f'adrelay_platform_call_seconds_bucket{{platform="claude",le="0.5"}} {done}',
        f'adrelay_platform_call_seconds_bucket{{platform="claude",le="+Inf"}} {done + failed}',
        f'adrelay_breaker_state{{platform="claude"}} {breaker}',
        f"process_start_time_seconds {started.timestamp()}",
    ]
    samples = {} if trouble else parse_metrics("\n".join(lines) + "\n")
    return ProcessReport(name, host, BEGIN + timedelta(seconds=second), trouble, None, samples)


def sample(
    *reports: ProcessReport, state: str = "reading", pause: PauseSummary | None = None
) -> Sample:
    lane = {"name": "sync.claude", "state": state, "pause": pause, "ready": 7}
    own = QueueSummary.model_validate({**lane, "retrying": 0, "dead": 0})
    others = [
        QueueSummary(name=name, state="unknown", retrying=0, dead=0)
        for name in ("sync.chatgpt", "sync.gemini")
    ]
    return Sample(processes=reports, overview=QueueOverview(queues=(own, *others), pauses=()))


def counted(*history: Sequence[ProcessReport]) -> dict[str, int]:
    calls = count_calls("claude", find_spans(history))
    assert calls is not None
    return {name: number for name, number in calls.outcomes.items() if number}


def test_calls_are_what_the_counters_have_grown_by_in_all_processes() -> None:
    first = [report(0, done=100), report(1, done=50, host="b:1"), report(0, done=9, name="auth")]
    last = [report(240, done=130, failed=2), report(241, done=51, host="b:1")]
    assert counted(first, last) == {"done": 31, "failed": 2}
    calls = count_calls("claude", find_spans([first, last]))
    assert calls is not None
    assert calls.seconds == 240
    assert calls.words == "31 done, 2 failed"
    assert [(state, round(share)) for state, share in calls.shares] == [("ok", 94), ("bad", 6)]


def test_a_process_that_was_started_again_counts_from_its_start() -> None:
    again = BEGIN + timedelta(seconds=60)
    history = [[report(0, done=500)], [report(90, done=4, started=again)]]
    assert counted(*history) == {"done": 4}


def test_a_process_that_was_seen_late_counts_from_then_on() -> None:
    gone = report(0, trouble="no answer in time")
    assert counted([gone], [report(10, done=500)], [report(20, done=503)]) == {"done": 3}


def test_without_a_process_that_answers_twice_nothing_is_known() -> None:
    assert count_calls("claude", find_spans([])) is None
    assert count_calls("claude", find_spans([[report(0, done=5)]])) is None
    gone = report(5, trouble="no answer in time")
    assert count_calls("claude", find_spans([[report(0, done=5)], [gone]])) is None


@pytest.mark.parametrize(
    ("buckets", "quantile", "expected"),
    [
        ([], 0.5, None),
        ([(0.1, 0), (math.inf, 0)], 0.5, None),
        ([(0.1, 10), (math.inf, 10)], 0.5, 0.05),
        ([(0.1, 5), (0.5, 10), (math.inf, 10)], 0.5, 0.1),
        ([(0.1, 5), (0.5, 10), (math.inf, 10)], 0.9, 0.42),
        ([(0.1, 0), (0.5, 10), (math.inf, 10)], 0.5, 0.3),
        ([(0.1, 1), (math.inf, 100)], 0.99, math.inf),
    ],
)
def test_a_quantile_is_estimated_within_its_bucket(
    buckets: list[tuple[float, float]], quantile: float, expected: float | None
) -> None:
    found = estimate_quantile(buckets, quantile)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_platform_says_its_state_and_what_is_not_known() -> None:
    history = [sample(report(0)), sample(report(60, done=100, fast=50))]
    claude, chatgpt, _ = build_platform_rows(history)
    assert (claude.icon, claude.word) == ("ok", "Pushing")
    assert claude.cells == {
        "calls": "100 done",
        "p50": "100 ms",
        "p99": "492 ms",
        "waiting": "7",
    }
    assert (chatgpt.icon, chatgpt.word) == ("unknown", "Not known")
    assert chatgpt.cells["waiting"] == "not known"
    assert build_lede([claude, claude]) == "Pushes go to all 2 platforms."
    assert build_lede([claude, chatgpt]) == (
        "Pushes go to 1 of 2 platforms: the state of chatgpt is not known."
    )


def test_a_pause_a_missing_consumer_and_an_open_breaker_are_told_apart() -> None:
    pause = PauseSummary(
        kind="platform", name="claude", reason="OPS-1", paused_by="oncall", paused_at=BEGIN
    )
    stop = pause.model_copy(update={"kind": "queue", "code_version": "0123abc"})
    cases = (
        (sample(report(0), state="paused", pause=pause), "paused", "Paused"),
        (sample(report(0), state="stopped", pause=stop), "bad", "Stopped"),
        (sample(report(0), state="unread"), "bad", "No consumer"),
        (sample(report(0, breaker=2)), "bad", "Failing"),
        (sample(report(0, breaker=1)), "warn", "Probing"),
        (sample(report(0, trouble="no answer")), "unknown", "Not known"),
    )
    found = [build_platform_rows([one])[0] for one, _, _ in cases]
    assert [(row.icon, row.word) for row in found] == [(icon, word) for _, icon, word in cases]
    assert build_lede(found[:5]) == (
        "Pushes go to 0 of 5 platforms: claude is paused by oncall; claude is stopped by oncall;"
        " no process reads the lane of claude; the circuit breaker of claude is open;"
        " the circuit breaker of claude is half-open."
    )
