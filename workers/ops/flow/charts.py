"""Builds the three charts: what is accepted, how late it is applied, what is put off. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from workers.ops.flow.entries import AMQP, API, EVENTS, WEBHOOKS
from workers.ops.flow.figures import find_rates
from workers.ops.flow.line_path import trace_line
from workers.ops.flow.timeline import (
    STEPS,
    Values,
    align_samples,
    differentiate,
    name_times,
    take_values,
)
from workers.ops.format import format_duration, format_rate
from workers.ops.sampler import RATE_SECONDS, Sample

LEFT, RIGHT, TOP, BASE = 40, 296, 8, 114  # of the area of the lines, in units of the picture
INTERVALS = 4  # between the lines of the grid
LABEL_GAP = 13  # units between the names of two lines
LOWEST_LABEL = BASE + 6.0
GOAL_SECONDS = 5.0  # from accepted to applied, of 99% (the service level objective)
NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A line: its name, its path, and the height of its name at its end."""

    name: str
    path: str
    label_y: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of the last five minutes; ``is_known`` is false without a single value."""

    key: str
    title: str
    unit: str
    lines: Sequence[ChartLine]
    ticks: Sequence[tuple[float, str]]  # height and text
    times: Sequence[str]
    summary: str
    is_known: bool
    goal: str = ""  # the path of its line


def build_charts(history: Sequence[Sample], at: datetime) -> list[Chart]:
    """Build the charts of the samples that end ``at`` (UTC)."""
    grid, times = align_samples(history, at), name_times(at)
    entries = {"webhooks": WEBHOOKS, "events": EVENTS, "AMQP": AMQP, "API": API}
    accepted = {name: take_values(grid, _read_entry(entry)) for name, entry in entries.items()}
    late = {
        "p99": take_values(grid, lambda one: _read_effect(one, "p99")),
        "p50": take_values(grid, lambda one: _read_effect(one, "p50")),
    }
    put_off = {
        "retried": take_values(grid, _read_put_off("retried")),
        "snoozed": take_values(grid, _read_put_off("snoozed")),
        "dead": differentiate(take_values(grid, _read_dead)),
    }
    return [
        _build("accepted", "Accepted", "per second, by entry", accepted, times),
        _build(
            "late", "Accepted to applied", "seconds", late, times, GOAL_SECONDS, format_duration
        ),
        _build("put-off", "Not handled at once", "per second", put_off, times),
    ]


def write_charts(charts: Sequence[Chart]) -> dict[str, str]:
    """Write the live values of charts."""
    values: dict[str, str] = {}
    for chart in charts:
        key = f"chart.{chart.key}"
        values |= {f"{key}.tick{index}": text for index, (_, text) in enumerate(chart.ticks)}
        values |= {f"{key}.time{index}": text for index, text in enumerate(chart.times)}
        values[f"{key}.goal"] = chart.goal
        for line in chart.lines:
            values[f"{key}.{line.name}"] = line.path
            values[f"{key}.{line.name}.y"] = f"{line.label_y:.1f}"
    return values


def choose_top(highest: float) -> float:
    """Choose the value at the top: a round one for each line of the grid."""
    power = 0.01
    while True:
        for nice in NICE:
            if nice * power * INTERVALS >= highest:
                return nice * power * INTERVALS
        power *= 10


def place_labels(heights: Sequence[float]) -> list[float]:
    """Move the names of lines apart, in the order of their heights, within the picture."""
    placed = list(heights)
    order = sorted(range(len(heights)), key=lambda index: (heights[index], index))
    for above, below in pairwise(order):
        placed[below] = max(placed[below], placed[above] + LABEL_GAP)
    lowest = LOWEST_LABEL
    for index in reversed(order):
        placed[index] = min(placed[index], lowest)
        lowest = placed[index] - LABEL_GAP
    return placed


def _build(
    key: str,
    title: str,
    unit: str,
    series: Mapping[str, Values],
    times: Sequence[str],
    goal: float | None = None,
    write: Callable[[float], str] = format_rate,
) -> Chart:
    known = [value for values in series.values() for value in values if value is not None]
    top = choose_top(max([*known, goal or 0.0, 0.04]))
    y = _scale(top)
    ends = [next((v for v in reversed(values) if v is not None), 0.0) for values in series.values()]
    heights = place_labels([y(end) + 4 for end in ends])
    lines = [
        ChartLine(name, trace_line(values, _place, y), height)
        for (name, values), height in zip(series.items(), heights, strict=True)
    ]
    steps = range(INTERVALS + 1)
    ticks = [(y(top * step / INTERVALS), f"{top * step / INTERVALS:g}") for step in steps]
    drawn_goal = "" if goal is None else f"M{LEFT},{y(goal):.1f} H{RIGHT}"
    summary = ", ".join(_describe(name, values, write) for name, values in series.items())
    return Chart(key, title, unit, lines, ticks, times, summary, bool(known), drawn_goal)


def _place(index: int) -> float:
    return LEFT + (RIGHT - LEFT) * index / (STEPS - 1)


def _scale(top: float) -> Callable[[float], float]:
    return lambda value: BASE - (BASE - TOP) * value / top


def _describe(name: str, values: Values, write: Callable[[float], str]) -> str:
    newest = values[-1]
    return f"{name} {'not known' if newest is None else write(newest)} now"


def _read_entry(entry: str) -> Callable[[Sample], float | None]:
    def read(sample: Sample) -> float | None:
        rates = find_rates(sample)
        return None if rates is None else rates.by_entry.get(entry, 0.0)

    return read


def _read_effect(sample: Sample, quantile: str) -> float | None:
    times = sample.flow.effect_times if sample.flow else None
    value: float | None = None if times is None else getattr(times, quantile)
    return value


def _read_put_off(kind: str) -> Callable[[Sample], float | None]:
    def read(sample: Sample) -> float | None:
        if sample.flow is None:
            return None
        return sample.flow.put_off.by_kind.get(kind, 0) / RATE_SECONDS

    return read


def _read_dead(sample: Sample) -> float | None:
    return None if sample.flow is None else sample.flow.dead_letters
