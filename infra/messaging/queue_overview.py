"""Tells the state of every queue that a handler reads: read, paused or stopped, and what waits."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.amqp import topology
from infra.messaging.queue_counts import QueueCounts
from infra.storage.dead_letters import count_open
from infra.storage.pause_registry import Pauses
from infra.storage.pauses import PauseRow, list_pauses
from schemas.queues import PauseSummary, QueueOverview, QueueState, QueueSummary

QUEUE_NAMES = (
    *topology.WORK_QUEUE_NAMES,
    *(queue.name for queue in topology.REQUEST_QUEUES),
)
RETRYING = text("""
    select queue, count(*) as number from waiting_events where due_at > now() group by queue
""")


async def read_queue_overview(tx: AsyncConnection, counts: QueueCounts) -> QueueOverview:
    """Read the state of all queues, and the pauses of platforms and accounts."""
    rows = await list_pauses(tx)
    pauses = Pauses({row.target: row for row in rows})
    dead = await count_open(tx)
    retrying = {row.queue: row.number for row in await tx.execute(RETRYING)}
    queues = []
    for name in QUEUE_NAMES:
        row, count = pauses.find(name), counts.by_queue.get(name)
        summary = QueueSummary(
            name=name,
            state=_get_state(row, None if count is None else count.consumers),
            pause=None if row is None else summarize_pause(row),
            ready=None if count is None else count.ready,
            consumers=None if count is None else count.consumers,
            retrying=retrying.get(name, 0),
            dead=dead.get(name, 0),
        )
        queues.append(summary)
    others = tuple(summarize_pause(row) for row in rows if row.kind != "queue")
    return QueueOverview(counted_at=counts.counted_at, queues=tuple(queues), pauses=others)


def summarize_pause(row: PauseRow) -> PauseSummary:
    """Convert a pause to what the API returns."""
    return PauseSummary(
        kind=row.kind,
        name=row.name,
        account=row.account or None,
        reason=row.reason,
        paused_by=row.paused_by,
        paused_at=row.paused_at,
        code_version=row.code_version,
    )


def _get_state(row: PauseRow | None, consumers: int | None) -> QueueState:
    if row is not None:
        return "paused" if row.code_version is None else "stopped"
    if consumers is None:
        return "unknown"
    return "reading" if consumers else "unread"
