"""Samples of the state of the system, as the sampler takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.amqp import topology
from infra.messaging.queue_counts import QueueCount, QueueCounts
from infra.messaging.queue_overview import QUEUE_NAMES
from infra.messaging.routing_state import RoutingState
from infra.storage.flow_counts import AcceptedCount, PutOffCounts
from schemas.queues import PauseSummary, QueueOverview, QueueSummary
from workers.ops.flow_counts import FlowCounts
from workers.ops.process_metrics import MetricSample, Readiness
from workers.ops.processes import ProcessReport
from workers.ops.sampler import OutboxState, Sample

Queues = Mapping[str, Mapping[str, Any]]  # fields of the queues that differ, by name
START = datetime(2026, 11, 29, 14, 0, tzinfo=UTC)
WELL = FlowCounts(
    accepted=(
        AcceptedCount("webhook", "gemini", "slot=1", from_outbox=False, number=2360),
        AcceptedCount("http", "POST", "/api/v1/events", from_outbox=False, number=1180),
        AcceptedCount("http", "POST", "/api/v1/campaigns", from_outbox=False, number=5),
        AcceptedCount("amqp", "user=<b>crm", "", from_outbox=False, number=40),
        AcceptedCount("amqp", "user=workers", "", from_outbox=True, number=1870),
    ),
    effect_times=None,
    put_off=PutOffCounts({}, {}),
    dead_letters=0,
    routing=RoutingState(),
)


def make_sample(
    seconds: float = 0,
    queues: Queues | None = None,
    pauses: Sequence[PauseSummary] = (),
    **more: Any,
) -> Sample:
    """Build a sample of a system that is well, ``seconds`` after START, but for what is given."""
    at = START + timedelta(seconds=seconds)
    usual = {"state": "reading", "ready": 0, "consumers": 1, "retrying": 0, "dead": 0}
    own = queues or {}
    summaries = tuple(
        QueueSummary.model_validate({"name": name, **usual, **own.get(name, {})})
        for name in QUEUE_NAMES
    )
    tiers = {topology.retry_exchange(tier): QueueCount(0, 0) for tier in topology.RETRY_TIERS}
    counts = QueueCounts(at, {**tiers, topology.UNROUTED: QueueCount(0, 0)})
    sample = Sample(
        number=int(seconds),
        at=at,
        overview=QueueOverview(counted_at=at, queues=summaries, pauses=tuple(pauses)),
        outbox=OutboxState(0, 0, 0.0),
        broker=True,
        redis=True,
        handled={},
        counts=counts,
        flow=WELL,
    )
    return replace(sample, **more)


def make_report(name: str, *, ready: bool = True, **breakers: int) -> ProcessReport:
    """Build the report of a process, with the breakers of platforms that it has."""
    states = tuple(
        MetricSample({"platform": platform}, state) for platform, state in breakers.items()
    )
    return ProcessReport(
        name,
        "127.0.0.1:1",
        readiness=Readiness(ready=ready, checks={"serving": ready}),
        samples={"adrelay_breaker_state": states},
    )


def make_pause(name: str, hours: float = 0, **more: Any) -> PauseSummary:
    """Build a pause of a queue that began some hours before START."""
    usual = {"kind": "queue", "name": name, "reason": "OPS-1 <b>", "paused_by": "oncall"}
    return PauseSummary.model_validate(
        {**usual, "paused_at": START - timedelta(hours=hours), **more}
    )
