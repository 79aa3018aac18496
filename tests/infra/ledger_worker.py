"""A worker process that writes the ledger, and can be told to die or to dawdle.

``LEDGER_KILLER`` names an event that kills the process, ``LEDGER_SECONDS`` is how long a
batch takes, ``LEDGER_BATCH`` its size.
"""

import asyncio
import os
import signal
from collections.abc import Sequence

from events import CampaignMetricsReported
from events.envelope import Event
from infra.messaging.context import Context
from infra.messaging.subscription import Subscription
from infra.process import main
from tests.infra.ledger import EVENTS, QUEUE, write

KILLER = os.environ.get("LEDGER_KILLER")
SECONDS = float(os.environ.get("LEDGER_SECONDS", "0"))
BATCH = int(os.environ.get("LEDGER_BATCH", "100"))


async def handle(events: list[CampaignMetricsReported], ctx: Context) -> Sequence[Event]:
    """Write the events, or die of one."""
    if any(event.id == KILLER for event in events):
        os.kill(os.getpid(), signal.SIGKILL)
    await write(ctx.tx, events)
    await asyncio.sleep(SECONDS)
    return ()


if __name__ == "__main__":
    main("metrics", (Subscription(QUEUE, EVENTS, handle, batch=BATCH),))
