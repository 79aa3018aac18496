"""Lays out the journey of an event and of what it caused: steps with bars on one scale."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from schemas.events import EventStep, TrackedEvent
from workers.ops.event_views.links import tracked_path
from workers.ops.event_views.outcome import count_attempts, describe_result, walk
from workers.ops.format import format_duration

MAX_STEPS = 60
LEAST_WIDTH = 0.8  # of 100, so that a short step is seen
LABELS = {"ok": "Done", "warn": "Failed", "bad": "Given up", "paused": "Held", "wait": "Next"}

Bar = tuple[str, float, float]  # work, wait or snooze; from; width: of 100


@dataclass(frozen=True, slots=True)
class JourneyStep:
    """A step: ``took`` seconds passed since ``begun`` (None: nothing to measure)."""

    at: datetime
    state: str
    what: str
    queue: str = ""
    more: str = ""
    event: str = ""  # the type of the event that was caused, if it is not the page's own
    path: str = ""
    kind: str = "work"
    begun: datetime | None = None
    ended: datetime | None = None
    is_next: bool = False
    since: str = ""
    bars: tuple[Bar, ...] = ()

    @property
    def label(self) -> str:
        """The state in a word."""
        return LABELS.get(self.state, "Done")

    @property
    def took(self) -> str:
        """How long it took, or waits."""
        if self.begun is None or self.ended is None:
            return ""
        return format_duration((self.ended - self.begun).total_seconds())


@dataclass(frozen=True, slots=True)
class Journey:
    """The steps in their order, how long all of it took, and how many steps are left out."""

    steps: tuple[JourneyStep, ...]
    total: str
    is_over: bool
    omitted: int


def build_journey(event: TrackedEvent, now: datetime) -> Journey:
    """Build the journey of an event and of what it caused."""
    found = [step for one in walk(event) for step in _list_steps(one, is_own=one is event)]
    found.sort(key=lambda step: step.at)
    if not found:
        return Journey((), "", is_over=True, omitted=0)
    shown, omitted = found[:MAX_STEPS], max(0, len(found) - MAX_STEPS)
    start = min(step.begun or step.at for step in shown)
    is_over = not any(step.is_next for step in found)
    last = max(step.ended or step.at for step in shown)
    end = last if is_over else max(last, now)
    reached = end if is_over else max(now, start)
    total = format_duration((reached - start).total_seconds())
    placed = tuple(_place(step, start, (end - start).total_seconds()) for step in shown)
    return Journey(placed, total, is_over=is_over, omitted=omitted)


def _list_steps(event: TrackedEvent, *, is_own: bool) -> Iterator[JourneyStep]:
    shown: dict[str, Any] = (
        {} if is_own else {"event": event.type or "unreadable", "path": tracked_path(event)}
    )
    for step, before in zip(event.steps, (None, *event.steps), strict=False):
        told = _read_step(event, step, is_own=is_own)
        begun = None if before is None else before.at
        if told.kind == "work" and begun is not None:
            told = replace(told, begun=begun, ended=step.at)
        yield replace(told, **shown)
    if (result := describe_result(event)) is not None and event.accepted:
        at = event.accepted[0].at
        yield JourneyStep(at, result.state, result.text, more=result.more, **shown)
    for outcome in event.queues:
        if outcome.state == "waiting" and outcome.until is not None:
            more = f"waits in the tier {outcome.tier}; {count_attempts(outcome.attempts)}"
            what = "Next attempt at"
            queue = outcome.queue
            yield JourneyStep(
                outcome.until, "wait", what, queue=queue, more=more, is_next=True, **shown
            )


def _read_step(event: TrackedEvent, step: EventStep, *, is_own: bool) -> JourneyStep:
    name, _, said = step.step.partition(": ")
    queue = step.queue or ""
    if name.startswith("accepted"):
        what = "Accepted" if is_own else "Caused"
        how = "confirmed by the broker" if "confirmed" in name else "stored in the outbox"
        return JourneyStep(step.at, "ok", what, more=f"{how}, {said}")
    if name.startswith("published"):
        return JourneyStep(step.at, "ok", "Left the outbox")
    if name == "handled":
        return JourneyStep(step.at, "ok", "Handled by", queue=queue)
    if name == "dead-lettered":
        reasons = (one.reason for queue in event.queues for one in queue.dead_letters)
        more = ": ".join(filter(None, (said, next(reasons, ""))))
        return JourneyStep(step.at, "bad", "Given up by", queue=queue, more=more)
    if name in ("retried", "snoozed"):
        outcome = next(one for one in event.queues if one.queue == step.queue)
        is_retry = name == "retried"
        what = "Failed at" if is_retry else "Snoozed by"
        more = ": ".join(filter(None, (outcome.code, outcome.reason)))
        kind = "wait" if is_retry else "snooze"
        state = "warn" if is_retry else "paused"
        return JourneyStep(
            step.at,
            state,
            what,
            queue=queue,
            more=more,
            kind=kind,
            begun=step.at,
            ended=outcome.until,
        )
    return JourneyStep(step.at, "paused", step.step.capitalize(), queue=queue)


def _place(step: JourneyStep, start: datetime, whole: float) -> JourneyStep:
    """Say how long after the start a step was, and place its bar on the scale of the whole."""
    passed = (step.at - start).total_seconds()
    since = f"+{format_duration(passed)}" if passed > 0 else "start"
    if step.begun is None or step.ended is None or whole <= 0:
        return replace(step, since=since)
    left = 100 * (step.begun - start).total_seconds() / whole
    width = 100 * (step.ended - step.begun).total_seconds() / whole
    width = min(100.0, max(LEAST_WIDTH, width))
    return replace(step, since=since, bars=((step.kind, min(left, 100 - width), width),))


def sum_kinds(steps: Sequence[JourneyStep]) -> frozenset[str]:
    """Name the kinds of bars that are shown, for the legend."""
    return frozenset(kind for step in steps for kind, _, _ in step.bars)
