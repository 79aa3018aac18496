"""The metrics worker of either release, whose every effect on the load's events can be counted.

``python -m tests.upgrade.metrics_worker``, in the checkout of the release. Events of the load go
to the handler of chaos, all others to the release's own.
"""

from collections.abc import Sequence

from events import CampaignMetricsReported
from events.envelope import Event
from handlers.metrics import record_metrics
from infra.messaging.context import Context
from infra.messaging.subscription import Subscription
from infra.process import main
from tests.chaos.worker import BATCH, handle
from tests.infra.ledger import EVENTS, QUEUE

LOAD = "urn:test"  # source of the load's events


async def record(events: list[CampaignMetricsReported], ctx: Context) -> Sequence[Event]:
    """Write the ledger, and record what platforms report."""
    load = [event for event in events if event.source == LOAD]
    caused = list(await handle(load, ctx)) if load else []
    reported = [event for event in events if event.source != LOAD]
    return [*caused, *(await record_metrics(reported, ctx) if reported else ())]


if __name__ == "__main__":
    main("metrics", (Subscription(QUEUE, EVENTS, record, batch=BATCH),))
