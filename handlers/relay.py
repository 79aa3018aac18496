"""The dead-letter office: whatever lands in a ``.dead`` queue is filed in Postgres."""

from collections.abc import Sequence

from events.base import Event
from infra.context import Context
from infra.letters import Letter
from infra.store.dead_letters import file_letters, mark_operations_dead


async def file_dead_letters(letters: list[Letter], ctx: Context) -> Sequence[Event]:
    """File letters and mark the operations that they were for as dead, in one transaction."""
    await file_letters(ctx.tx, letters)
    await mark_operations_dead(ctx.tx, [x for x in letters if x.queue == "campaigns.apply"])
    return ()
