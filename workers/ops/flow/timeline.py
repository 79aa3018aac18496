"""Brings the samples of the last five minutes onto an even grid of time. Pure.

A place of the grid without a sample is None: nobody looked then, and nothing is drawn there.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from workers.ops.sampler import Sample

STEP = 10.0  # seconds
STEPS = 31  # five minutes, both ends included

Values = Sequence[float | None]


def align_samples(history: Sequence[Sample], at: datetime) -> list[Sample | None]:
    """Pick the newest sample of each step, the oldest step first; the last one ends ``at``."""
    grid: list[Sample | None] = [None] * STEPS
    for sample in history:
        age = (at - sample.at).total_seconds()
        place = STEPS - 1 - int(max(0.0, age) // STEP)
        if place >= 0:
            grid[place] = sample
    return grid


def take_values(
    grid: Sequence[Sample | None], read: Callable[[Sample], float | None]
) -> list[float | None]:
    """Read one figure of every sample of the grid."""
    return [None if sample is None else read(sample) for sample in grid]


def differentiate(values: Values) -> list[float | None]:
    """Turn a count that grows into rates per second; None where it is not known or has fallen."""
    rates: list[float | None] = [None]
    for before, after in pairwise(values):
        if before is None or after is None or after < before:
            rates.append(None)
        else:
            rates.append((after - before) / STEP)
    return rates


def name_times(at: datetime) -> Sequence[str]:
    """Name the times (UTC) at the beginning, in the middle and at the end of the grid."""
    whole = timedelta(seconds=STEP * (STEPS - 1))
    return [f"{at - whole * part:%H:%M:%S}" for part in (1, 0.5, 0)]
