"""The dead-letter office: whatever lands in a ``.dead`` queue is filed in Postgres."""

from collections.abc import Sequence

from events.envelope import Event
from infra.messaging.context import Context
from infra.storage.dead_letters import DeadLetterRow, mark_operations_dead, put_dead_letters


async def file_dead_letters(letters: list[DeadLetterRow], ctx: Context) -> Sequence[Event]:
    """File letters and mark the operations that they were for as dead, in one transaction."""
    await put_dead_letters(ctx.tx, letters)
    await mark_operations_dead(ctx.tx, [x for x in letters if x.queue == "campaigns.apply"])
    return ()
