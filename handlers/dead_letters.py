"""Files the messages of dead-letter queues in Postgres."""

from collections.abc import Sequence

from events.envelope import Event
from infra import metrics
from infra.amqp.topology import WORK_QUEUE_NAMES
from infra.messaging.context import Context
from infra.messaging.dead_letter import BROKER_STAGE
from infra.messaging.dead_letter_jobs import record_failed_again
from infra.storage.dead_letters import DeadLetterRow, mark_operations_dead, put_dead_letters

BY_BROKER = {
    queue: metrics.DEAD_LETTERED.labels(queue, metrics.BROKER) for queue in WORK_QUEUE_NAMES
}


async def file_dead_letters(dead: list[DeadLetterRow], ctx: Context) -> Sequence[Event]:
    """File dead letters and set the operations of dead commands to ``dead``."""
    await put_dead_letters(ctx.tx, dead)
    await record_failed_again(ctx.tx, dead)
    await mark_operations_dead(ctx.tx, [row for row in dead if row.queue == "campaigns.apply"])
    if by_broker := [row.queue for row in dead if row.stage == BROKER_STAGE]:
        ctx.after_commit(lambda: _count(by_broker))
    return ()


async def _count(queues: Sequence[str]) -> None:
    """Count what the broker dead-lettered; a worker has counted the others."""
    for queue in queues:
        BY_BROKER[queue].inc()
