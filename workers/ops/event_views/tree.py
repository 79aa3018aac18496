"""Lays out what an event caused, down to the platform's answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.events import TrackedEvent
from workers.ops.event_views.links import tracked_path
from workers.ops.event_views.outcome import Told, describe_outcome, describe_result, walk

MAX_NODES = 50


@dataclass(frozen=True, slots=True)
class TreeNode:
    """An event, its queues with their outcomes, the answer that it tells, and what it caused."""

    event: TrackedEvent
    path: str
    queues: Sequence[tuple[str, Told]]
    result: Told | None
    caused: Sequence["TreeNode"]
    omitted: int  # events that it caused and that are not shown
    is_complete: bool


@dataclass(frozen=True, slots=True)
class CauseTree:
    """A tree, and how many events and answers of platforms are in it, besides the first."""

    root: TreeNode
    events: int
    answers: int
    is_complete: bool


def build_tree(event: TrackedEvent, now: datetime) -> CauseTree:
    """Build the tree of an event; of a large one the first 50 events are shown."""
    found = list(walk(event))
    kept = {id(one) for one in found[:MAX_NODES]}
    answers = sum(1 for one in found if one.result and "platform" in one.result)
    is_complete = all(one.is_complete for one in found)
    return CauseTree(_build_node(event, kept, now), len(found) - 1, answers, is_complete)


def _build_node(event: TrackedEvent, kept: set[int], now: datetime) -> TreeNode:
    shown = [one for one in event.caused if id(one) in kept]
    hidden = [one for one in event.caused if id(one) not in kept]
    return TreeNode(
        event,
        tracked_path(event),
        [(outcome.queue, describe_outcome(outcome, now)) for outcome in event.queues],
        describe_result(event),
        [_build_node(one, kept, now) for one in shown],
        sum(1 for one in hidden for _ in walk(one)),
        event.is_complete,
    )
