"""Derives the figures of the flow picture and its list from samples. Pure.

Rates are per second, means of the last RATE_SECONDS. None is not known, and is never shown as 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.amqp import topology
from infra.messaging.pause_commands import REQUEST_QUEUES
from infra.platforms import PLATFORMS
from workers.ops.flow.entries import AcceptedRates, rate_accepted
from workers.ops.flow.line_path import trace_spark
from workers.ops.flow.nodes import (
    FlowNode,
    build_dead_node,
    build_entry_nodes,
    build_events_node,
    build_outbox_node,
    build_platform_node,
    build_postgres_node,
    build_relay_node,
    build_retry_node,
    build_unrouted_node,
    build_worker_node,
)
from workers.ops.flow.timeline import align_samples, take_values
from workers.ops.queue_rows import NOT_KNOWN, QueueRow, build_rows
from workers.ops.sampler import RATE_SECONDS, Sample

SLOW_SECONDS = 5.0  # to drain: from here on a queue misses the goal of an event
UNRECOGNISED = "webhooks.unrecognised"
# The queues of the picture from top to bottom, by the worker that reads them.
WORKERS: Mapping[str, tuple[str, ...]] = {
    "auth": ("auth.session", "auth.register"),
    "campaigns": ("campaigns.apply", "campaigns.record"),
    "metrics": ("metrics.record",),
    "sync": tuple(f"sync.{platform}" for platform in PLATFORMS),
    "relay": (UNRECOGNISED,),
}
WORDS = {"reading": "running", "unread": "no consumer", "unknown": "not known"}


@dataclass(frozen=True, slots=True)
class FlowLane:
    """A queue of the picture: its line, and whether it is slow."""

    row: QueueRow
    state: str
    word: str

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.row.name

    @property
    def cells(self) -> Mapping[str, str]:
        """The texts of its columns, as short as the picture has room for."""
        cells = {name: "?" if text == NOT_KNOWN else text for name, text in self.row.cells.items()}
        if self.name in REQUEST_QUEUES:
            cells |= {"in": "", "out": "not counted"}
        return cells

    @property
    def note(self) -> str:
        """Its state, and how long what waits needs."""
        return self.word if self.is_held else f"{self.word}, drained in: {self.cells['drain']}"

    @property
    def is_held(self) -> bool:
        """Whether nothing leaves it on purpose."""
        return self.row.pause is not None


@dataclass(frozen=True, slots=True)
class FlowFigures:
    """Everything that the picture and the list show, in the order of the flow."""

    entries: Sequence[FlowNode]
    requests: FlowNode
    events: FlowNode
    history: FlowNode
    unrouted: FlowNode
    lanes: Sequence[FlowLane]
    workers: Mapping[str, FlowNode]
    postgres: FlowNode
    platforms: Mapping[str, FlowNode]
    relay: FlowNode
    retry: FlowNode
    tiers: Mapping[str, int | None]
    dead: FlowNode
    outbox: FlowNode
    rates: AcceptedRates | None
    events_path: str  # of the sparkline of all events

    @property
    def nodes(self) -> Sequence[FlowNode]:
        """All nodes but the queues."""
        ends = (self.postgres, *self.platforms.values(), self.relay, self.retry)
        middle = (self.requests, self.events, self.history, self.unrouted)
        return (*self.entries, *middle, *self.workers.values(), *ends, self.dead, self.outbox)


def build_flow(history: Sequence[Sample]) -> FlowFigures:
    """Build the figures from the samples of the last minutes, of which there is one at least."""
    sample = history[-1]
    by_name = {row.name: row for row in build_rows(history)}
    names = [name for names in WORKERS.values() for name in names]
    lanes = [_build_lane(by_name[name]) for name in names if name in by_name]
    rates = find_rates(sample)
    readers = {
        name: build_worker_node(name, [lane.row for lane in lanes if lane.name in queues], sample)
        for name, queues in WORKERS.items()
    }
    platforms: Mapping[str, FlowNode] = {
        platform: build_platform_node(platform, by_name.get(f"sync.{platform}"), sample)
        for platform in PLATFORMS
    }
    return FlowFigures(
        entries=build_entry_nodes(rates),
        requests=FlowNode("requests", topology.REQUEST_EXCHANGE, "/queues"),
        events=build_events_node(rates),
        history=FlowNode("history", topology.EVENT_LOG, "/events", "log"),
        unrouted=build_unrouted_node(sample),
        lanes=lanes,
        workers=readers,
        postgres=build_postgres_node(sample),
        platforms=platforms,
        relay=build_relay_node(sample, rates),
        retry=build_retry_node(sample),
        tiers=count_tiers(sample),
        dead=build_dead_node(sample),
        outbox=build_outbox_node(sample),
        rates=rates,
        events_path=trace_spark(take_values(align_samples(history, sample.at), _read_total)),
    )


def find_rates(sample: Sample) -> AcceptedRates | None:
    """Find the rates of what was accepted; None where the event index cannot tell."""
    if sample.flow is None or sample.flow.accepted is None:
        return None
    return rate_accepted(sample.flow.accepted, RATE_SECONDS)


def count_tiers(sample: Sample) -> Mapping[str, int | None]:
    """Count what waits in each tier of the retry ladder, as the relay has counted it."""
    counts = sample.counts.by_queue
    found = {tier: counts.get(topology.retry_exchange(tier)) for tier in topology.RETRY_TIERS}
    return {tier: None if count is None else count.ready for tier, count in found.items()}


def _read_total(sample: Sample) -> float | None:
    rates = find_rates(sample)
    return None if rates is None else rates.total


def _build_lane(row: QueueRow) -> FlowLane:
    seconds = row.drain_seconds
    state = row.summary.state
    if state == "reading" and seconds is not None and seconds > SLOW_SECONDS:
        return FlowLane(row, "warn", "slow")
    if state == "reading" and row.rate_out == 0 and (row.summary.ready or 0) > 0:
        return FlowLane(row, "warn", "stands still")
    return FlowLane(row, row.icon, WORDS.get(state, state))
