"""The lines of queues as they follow from samples."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from schemas.queues import QueueOverview, QueueState, QueueSummary
from workers.ops.process_metrics import parse_metrics
from workers.ops.processes import ProcessReport
from workers.ops.queue_rows import build_rows
from workers.ops.sampler import Sample

QUEUE = "metrics.record"
START = datetime(2026, 11, 29, 14, 0, tzinfo=UTC)


def sample(at: int, ready: int | None, handled: int, state: QueueState = "reading") -> Sample:
    """Build a sample of one queue, ``at`` seconds after the start."""
    when = START + timedelta(seconds=at)
    queue = QueueSummary(name=QUEUE, state=state, ready=ready, retrying=0, dead=0)
    overview = QueueOverview(counted_at=when, queues=(queue,), pauses=())
    return Sample(number=at, at=when, overview=overview, handled={QUEUE: handled})


@pytest.mark.parametrize(
    ("history", "rates", "drained_in"),
    [
        ([sample(0, 0, 0)], ("not known", "0"), "0 s"),
        ([sample(0, 0, 0), sample(10, 400, 200)], ("60", "20"), "20 s"),
        ([sample(0, 900, 0), sample(10, 100, 950)], ("15", "95"), "1 s"),
        ([sample(0, 5000, 0), sample(10, 4, 950)], ("0", "95"), "< 1 s"),
        ([sample(0, 7, 0), sample(10, 7, 0)], ("0", "0"), "nothing is handled"),
        ([sample(0, 7, 0), sample(10, None, 10)], ("not known", "1"), "not known"),
        ([sample(0, 7, 0), sample(60, 9, 10)], ("not known", "1"), "9 s"),
        ([sample(0, 7, 0), sample(10, 9, 0, "paused")], ("0.2", "0"), "paused"),
    ],
)
def test_rates_and_the_time_to_drain_follow_from_the_samples(
    history: list[Sample], rates: tuple[str, str], drained_in: str
) -> None:
    (row,) = build_rows(history)
    assert (row.cells["in"], row.cells["out"]) == rates
    assert row.drained_in == drained_in


def test_what_is_in_hand_is_the_sum_over_the_processes_that_tell() -> None:
    line = 'adrelay_messages_in_hand{{queue="metrics.record"}} {}\n'
    told = [
        ProcessReport("metrics", f"x:{n}", samples=parse_metrics(line.format(n))) for n in (3, 4)
    ]
    silent = ProcessReport("sync", "x:9", trouble="no answer in time")
    (row,) = build_rows([replace(sample(0, 7, 0), processes=[*told, silent])])
    assert row.cells["in_hand"] == "7"
    (row,) = build_rows([replace(sample(0, 7, 0), processes=[silent])])
    assert row.cells["in_hand"] == "not known"


def test_without_postgres_there_are_no_rows() -> None:
    assert build_rows([]) == []
    assert build_rows([sample(0, 1, 1), replace(sample(2, 1, 1), overview=None)]) == []
