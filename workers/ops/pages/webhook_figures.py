"""Derives the figures of a webhook source from what the ingress has counted in 24 hours. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import floor

from handlers.webhooks import SOURCES
from infra.metrics.batch_histogram import INFINITY
from infra.metrics.buckets import SKEW
from infra.security.standard_webhooks import TOLERANCE_SECONDS
from infra.storage.webhook_counts import WebhookCount
from workers.ops.format import format_ago, format_count

# How a webhook ended, in words, and the part of the meter.
OUTCOMES: Mapping[str, tuple[str, str]] = {
    "accepted": ("accepted", "ok"),
    "unrecognised": ("unrecognised", "warn"),
    "limited": ("over the limit", "warn"),
    "bad_signature": ("bad signature", "bad"),
    "refused": ("unreadable", "bad"),
    "unavailable": ("not stored", "bad"),
}
ALWAYS_SHOWN = ("accepted", "unrecognised", "bad_signature")
CHECKS: Mapping[str, str] = {
    "headers": "with a header missing or malformed",
    "signature": "that no secret matches",
    "timestamp": f"signed more than {TOLERANCE_SECONDS} s ago or ahead: a clock is wrong",
}
MIN_SHARE = 0.5  # of 100: a part of a meter that can be seen
MANY_REFUSED, LARGE_SHARE = 10, 0.05  # more of both are worth a look


@dataclass(frozen=True, slots=True)
class SecretSlot:
    """A secret by its number: its share of 100, and when it last verified a webhook (UTC)."""

    number: int
    share: float
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class RefusedSignatures:
    """Webhooks without a valid signature in 24 hours, and the newest of them."""

    source: str
    number: int
    reasons: str
    last_at: datetime | None
    address: str | None
    is_many: bool


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """The figures of a source; ``meter`` has the state and the share of 100 of each part."""

    outcomes: Sequence[tuple[str, int, str]]  # outcome, webhooks, words
    meter: Sequence[tuple[str, float]]
    accepted_percent: str
    skew: str
    slots: Sequence[SecretSlot]
    slot_note: str
    refused: RefusedSignatures | None


def build_figures(counts: Iterable[WebhookCount], now: datetime) -> dict[str, SourceFigures]:
    """Build the figures of every source."""
    by_source: dict[str, list[WebhookCount]] = {name: [] for name in SOURCES}
    for count in counts:
        if count.source in by_source:
            by_source[count.source].append(count)
    return {name: _build_source(name, own, now) for name, own in by_source.items()}


def _build_source(name: str, counts: Sequence[WebhookCount], now: datetime) -> SourceFigures:
    by_outcome = {one.label: one.webhooks for one in counts if one.counter == "outcome"}
    outcomes = [
        (outcome, by_outcome.get(outcome, 0), words)
        for outcome, (words, _) in OUTCOMES.items()
        if by_outcome.get(outcome) or outcome in ALWAYS_SHOWN
    ]
    total = sum(by_outcome.values())
    slots = _build_slots(counts)
    return SourceFigures(
        outcomes=outcomes,
        meter=_build_meter(by_outcome, total),
        accepted_percent=_write_percent(by_outcome.get("accepted", 0), total),
        skew=describe_skew(counts) if SOURCES[name].SIGNS_TIME else "",
        slots=slots,
        slot_note=_describe_slots(slots, now),
        refused=_build_refused(name, counts, total),
    )


def describe_skew(counts: Iterable[WebhookCount]) -> str:
    """Write the quantiles of the skew as the upper bounds of their buckets; empty without any."""
    bounds = sorted(
        (float(one.label.replace(INFINITY, "inf")), one.webhooks)
        for one in counts
        if one.counter == "skew"
    )
    total = sum(number for _, number in bounds)
    if not total:
        return ""
    return ", ".join(
        f"{name} {_find_quantile(bounds, share * total)}"
        for name, share in (("p50", 0.5), ("p99", 0.99))
    )


def _find_quantile(bounds: Sequence[tuple[float, int]], rank: float) -> str:
    seen = 0
    for bound, number in bounds:
        seen += number
        if seen >= rank and bound <= SKEW[-1]:
            return f"below {bound:g} s"
    return f"over {SKEW[-1]:g} s"


def _build_meter(by_outcome: Mapping[str, int], total: int) -> list[tuple[str, float]]:
    parts = {"ok": 0, "warn": 0, "bad": 0}
    for outcome, number in by_outcome.items():
        parts[OUTCOMES[outcome][1] if outcome in OUTCOMES else "bad"] += number
    if not total:
        return [("rest", 100.0)]
    shares = {state: 100 * number / total for state, number in parts.items() if number}
    small = {state: MIN_SHARE for state, share in shares.items() if share < MIN_SHARE}
    room = 100 - sum(small.values())
    large = sum(share for state, share in shares.items() if state not in small)
    return [
        (state, small[state] if state in small else share * room / large)
        for state, share in shares.items()
    ]


def _write_percent(number: int, total: int) -> str:
    if not total:
        return "no webhook"
    # Rounded down: 100 percent are all.
    return f"{floor(10_000 * number / total) / 100:g} percent accepted"


def _build_slots(counts: Iterable[WebhookCount]) -> list[SecretSlot]:
    own = sorted((int(one.label), one) for one in counts if one.counter == "slot")
    total = sum(one.webhooks for _, one in own)
    return [
        SecretSlot(number, 100 * one.webhooks / total if total else 0.0, one.last_at)
        for number, one in own
    ]


def _describe_slots(slots: Sequence[SecretSlot], now: datetime) -> str:
    if not slots:
        return ""
    used = [slot for slot in slots if slot.share]
    if len(slots) == 1:
        last = slots[0].last_at
        return "one secret, " + (
            f"used {format_ago(min(last, now), now)}" if last else "not used yet"
        )
    if len(used) > 1:
        oldest = used[-1]
        if oldest.last_at is not None:
            ago = format_ago(min(oldest.last_at, now), now)
            return f"keep them: slot {oldest.number} was used {ago}"
    idle = [str(slot.number) for slot in slots if not slot.share]
    return f"not used in 24 hours: slot {', '.join(idle)}" if idle else ""


def _build_refused(
    source: str, counts: Iterable[WebhookCount], total: int
) -> RefusedSignatures | None:
    own = [one for one in counts if one.counter == "bad_signature" and one.webhooks]
    if not own:
        return None
    number = sum(one.webhooks for one in own)
    reasons = [
        f"{format_count(one.webhooks)} {CHECKS.get(one.label, one.label)}"
        for one in sorted(own, key=lambda one: -one.webhooks)
    ]
    newest = max(own, key=lambda one: (one.last_at is not None, one.last_at))
    is_many = number > MANY_REFUSED and number > LARGE_SHARE * total
    return RefusedSignatures(
        source, number, "; ".join(reasons), newest.last_at, newest.address, is_many
    )
