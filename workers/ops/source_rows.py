"""Derives the lines of webhook sources from samples and counts. Pure.

A rate is a mean of the last minute, from what the ingress has recorded at the ends of it. A source
is silent when nothing came for much longer than usual in its last week.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from handlers.webhooks import SOURCES
from infra.storage.webhook_counts import AcceptedWebhooks
from workers.ops.format import format_ago, format_duration, format_rate, format_time
from workers.ops.sampler import Sample

RATE_SECONDS = 60.0  # over which a rate is a mean
MIN_RATE_SECONDS = 8.0  # a shorter time tells none
SPARK_SECONDS = 10.0  # of a point of the line
SILENT_GAPS = 20  # usual gaps without a webhook
MIN_SILENCE = 600.0  # seconds; less is no silence
NOT_KNOWN = "not known"


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source as people read it; ``rate`` is per second, None is not known."""

    name: str
    icon: str
    word: str
    detail: str
    rate: float | None
    rates: Sequence[float]  # in the last five minutes, oldest first
    is_silent: bool = False

    @property
    def rate_text(self) -> str:
        """The rate, or that it is not known."""
        return NOT_KNOWN if self.rate is None else format_rate(self.rate)


def build_source_rows(history: Sequence[Sample]) -> list[SourceRow]:
    """Build the line of every source, whether or not anything is known of it."""
    known = [sample for sample in history if sample.webhooks is not None]
    newest = history[-1] if history else Sample()
    return [_build_row(name, newest, known) for name in SOURCES]


def list_silent(webhooks: Mapping[str, AcceptedWebhooks] | None, now: datetime) -> list[str]:
    """List the sources that are silent."""
    found = webhooks or {}
    return [name for name in SOURCES if name in found and is_silent(found[name], now)]


def is_silent(accepted: AcceptedWebhooks, now: datetime) -> bool:
    """Tell whether a source that used to send has stopped; ``now`` is aware."""
    if accepted.last_at is None:
        return False
    gap = accepted.usual_gap
    if gap is None:
        return True
    silence = (now - accepted.last_at).total_seconds()
    return silence > max(MIN_SILENCE, SILENT_GAPS * gap)


def _build_row(name: str, newest: Sample, known: Sequence[Sample]) -> SourceRow:
    if newest.webhooks is None:
        return SourceRow(name, "unknown", NOT_KNOWN, "Postgres does not answer", None, ())
    accepted = newest.webhooks.get(name)
    totals = [(s.at, s.webhooks[name].total) for s in known if s.webhooks and name in s.webhooks]
    rate, rates = _find_rate(totals), _list_rates(totals)
    if accepted is None or accepted.last_at is None:
        detail = "none since webhooks are counted"
        return SourceRow(name, "unknown", "none yet", detail, 0.0, ())
    silent = is_silent(accepted, newest.at)
    last = accepted.last_at
    ago = format_ago(min(last, newest.at), newest.at)
    detail = format_time(last, newest.at)
    if silent and accepted.usual_gap is not None:
        detail += f", usually every {format_duration(max(accepted.usual_gap, 0.001))}"
    icon = "warn" if silent else "ok"
    return SourceRow(name, icon, ago, detail, rate, rates, is_silent=silent)


def _find_rate(totals: Sequence[tuple[datetime, int]]) -> float | None:
    """Find the webhooks per second of the last minute; None where it was not watched for long."""
    if not totals:
        return None
    at, total = totals[-1]
    for then, before in totals:
        seconds = (at - then).total_seconds()
        if seconds < MIN_RATE_SECONDS:
            break
        if seconds <= RATE_SECONDS:
            return max(0.0, (total - before) / seconds)
    return None


def _list_rates(totals: Sequence[tuple[datetime, int]]) -> list[float]:
    """List the webhooks per second of every ten seconds, oldest first."""
    rates: list[float] = []
    if not totals:
        return rates
    began, before = totals[0]
    for at, total in totals[1:]:
        seconds = (at - began).total_seconds()
        if seconds >= SPARK_SECONDS:
            rates.append(max(0.0, (total - before) / seconds))
            began, before = at, total
    return rates
