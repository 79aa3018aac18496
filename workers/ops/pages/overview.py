"""Overview: is anything wrong, where, and what is paused."""

from collections.abc import Mapping
from dataclasses import dataclass

from workers.ops.format import format_count, format_duration
from workers.ops.page import Page
from workers.ops.request import ConsoleRequest
from workers.ops.sampler import Sample, Sampler


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the figures at the top: ``key`` names its live value, None: not known."""

    key: str
    name: str
    value: str | None
    unit: str = ""
    note: str = ""


async def show(request: ConsoleRequest) -> Page:
    """Show the figures, and what is paused."""
    sample = request.state.sampler.current
    context = {"lede": build_lede(sample), "figures": build_figures(sample)}
    return Page("Overview", "overview.html", context)


def build_lede(sample: Sample) -> str:
    """Answer the page's question in one sentence."""
    if not sample.database:
        return "Not known: Postgres does not answer."
    paused = f"{len(sample.pauses)} paused" if sample.pauses else "nothing is paused"
    return f"{format_count(sample.dead or 0)} open dead letters, {paused}."


def build_figures(sample: Sample) -> list[Figure]:
    """List the figures that are known from one sample."""
    outbox, overview = sample.outbox, sample.overview
    dead = None if sample.dead is None else format_count(sample.dead)
    waiting = None if sample.waiting is None else format_count(sample.waiting)
    rows = None if outbox is None else format_count(outbox.waiting)
    note = "" if outbox is None else f"oldest {format_duration(outbox.oldest)}"
    retrying = None if overview is None else sum(queue.retrying for queue in overview.queues)
    paused = None if overview is None else str(len(sample.pauses))
    parked = None if outbox is None else format_count(outbox.parked)
    return [
        Figure("overview.waiting", "Waiting", waiting, note="in all queues"),
        Figure("overview.retrying", "In retry", None if retrying is None else str(retrying)),
        Figure("overview.outbox", "Outbox", rows, "rows", note),
        Figure("overview.parked", "Parked", parked, "rows"),
        Figure("overview.dead", "Dead letters", dead, "open"),
        Figure("overview.paused", "Paused", paused),
    ]


def live_values(sampler: Sampler) -> Mapping[str, str]:
    """Format the live values of the page."""
    figures = build_figures(sampler.current)
    return {figure.key: figure.value for figure in figures if figure.value is not None}
