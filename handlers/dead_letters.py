"""Files the messages of dead-letter queues in Postgres."""

from collections.abc import Sequence

from events.envelope import Event
from infra.messaging.context import Context
from infra.storage.dead_letters import DeadLetterRow, mark_operations_dead, put_dead_letters


async def file_dead_letters(dead: list[DeadLetterRow], ctx: Context) -> Sequence[Event]:
    """File dead letters and set the operations of dead commands to ``dead``."""
    await put_dead_letters(ctx.tx, dead)
    await mark_operations_dead(ctx.tx, [row for row in dead if row.queue == "campaigns.apply"])
    return ()
