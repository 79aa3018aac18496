"""The six figures at the top of the overview, each with its last five minutes. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from workers.ops.flow.charts import GOAL_SECONDS
from workers.ops.flow.figures import find_rates
from workers.ops.flow.line_path import trace_spark
from workers.ops.flow.nodes import NOT_KNOWN, name_counted_hour
from workers.ops.flow.timeline import align_samples, take_values
from workers.ops.format import format_count, format_duration, format_rate
from workers.ops.sampler import RATE_SECONDS, Sample


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: value, unit, the line below it, its state, and the path of its sparkline."""

    key: str
    name: str
    value: str
    unit: str = ""
    note: str = ""
    state: str = ""
    read: Callable[[Sample], float | None] = field(default=lambda _: None, repr=False)
    path: str = ""


def build_figures(history: Sequence[Sample]) -> list[Figure]:
    """Build the figures of the newest sample; their keys and order are constants."""
    sample = history[-1]
    grid = align_samples(history, sample.at)
    figures = (
        _accepted(sample),
        _handled(sample),
        _effect(sample),
        _waiting(sample),
        _outbox(sample),
        _dead(sample),
    )
    return [_with_path(figure, grid) for figure in figures]


def write_figures(figures: Sequence[Figure]) -> dict[str, str]:
    """Write the live values of the figures."""
    values: dict[str, str] = {}
    for figure in figures:
        key = f"overview.{figure.key}"
        values |= {key: figure.value, f"{key}.unit": figure.unit, f"{key}.note": figure.note}
        values |= {f"{key}.state": figure.state, f"{key}.path": figure.path}
    return values


def _with_path(figure: Figure, grid: Sequence[Sample | None]) -> Figure:
    path = trace_spark(take_values(grid, figure.read))
    value, unit = figure.value, figure.unit
    return Figure(figure.key, figure.name, value, unit, figure.note, figure.state, path=path)


def _accepted(sample: Sample) -> Figure:
    rates = find_rates(sample)
    if rates is None:
        return _unknown("accepted", "Accepted", sample, _read_accepted)
    value, unit = _split_rate(rates.accepted)
    note = f"{format_rate(rates.caused)}/s more are caused"
    return Figure("accepted", "Accepted", value, unit, note, read=_read_accepted)


def _handled(sample: Sample) -> Figure:
    rate = _read_handled(sample)
    if rate is None:
        return _unknown("handled", "Handled", sample, _read_handled)
    value, unit = _split_rate(rate)
    return Figure("handled", "Handled", value, unit, "by all queues", read=_read_handled)


def _effect(sample: Sample) -> Figure:
    name, key = "Accepted to applied", "effect"
    if sample.flow is None or sample.flow.accepted is None:
        return _unknown(key, name, sample, _read_effect)
    times = sample.flow.effect_times
    if times is None:
        return Figure(key, name, "none", "", "no event in a minute", read=_read_effect)
    state = "bad" if times.p99 > GOAL_SECONDS else ""
    note = f"p50 {format_duration(times.p50)}, goal {format_duration(GOAL_SECONDS)}"
    return Figure(key, name, format_duration(times.p99), "p99", note, state, _read_effect)


def _waiting(sample: Sample) -> Figure:
    if sample.overview is None or sample.waiting is None:
        return _unknown("waiting", "Waiting", sample, _read_waiting)
    held = sum(q.ready or 0 for q in sample.overview.queues if q.pause is not None)
    note = f"{format_count(held)} of these paused" if held else "in all queues"
    value = format_count(sample.waiting)
    return Figure("waiting", "Waiting", value, "", note, read=_read_waiting)


def _outbox(sample: Sample) -> Figure:
    outbox = sample.outbox
    if outbox is None:
        return _unknown("outbox", "Outbox", sample, _read_outbox)
    parked = f"{format_count(outbox.parked)} parked" if outbox.parked else "none parked"
    note = f"oldest {format_duration(outbox.oldest)}, {parked}"
    value, state = format_count(outbox.waiting), "warn" if outbox.parked else ""
    return Figure("outbox", "Outbox", value, "rows", note, state, _read_outbox)


def _dead(sample: Sample) -> Figure:
    if sample.dead is None or sample.flow is None:
        return _unknown("dead", "Dead letters", sample, _read_dead)
    note = f"{format_count(sample.flow.dead_letters)} since {name_counted_hour(sample.at)}"
    return Figure("dead", "Dead letters", format_count(sample.dead), "open", note, read=_read_dead)


def _unknown(key: str, name: str, sample: Sample, read: Callable[[Sample], float | None]) -> Figure:
    note = "not counted now" if sample.database else "Postgres does not answer"
    return Figure(key, name, NOT_KNOWN, "", note, "unknown", read)


def _split_rate(rate: float) -> tuple[str, str]:
    text = format_rate(rate)
    number, _, unit = text.rpartition(" per ")
    return (number, f"per {unit}") if number else (text, "/s")


def _read_accepted(sample: Sample) -> float | None:
    rates = find_rates(sample)
    return None if rates is None else rates.accepted


def _read_handled(sample: Sample) -> float | None:
    return None if sample.handled is None else sum(sample.handled.values()) / RATE_SECONDS


def _read_effect(sample: Sample) -> float | None:
    times = sample.flow.effect_times if sample.flow else None
    return None if times is None else times.p99


def _read_waiting(sample: Sample) -> float | None:
    return sample.waiting


def _read_outbox(sample: Sample) -> float | None:
    return None if sample.outbox is None else sample.outbox.waiting


def _read_dead(sample: Sample) -> float | None:
    return sample.dead
