"""The metrics worker: records what platforms and upstream systems report about campaigns' days."""

from events import CampaignMetricsReported
from handlers.metrics import record_metrics
from infra.messaging.subscription import Subscription
from infra.process import main

SUBSCRIPTIONS = (
    Subscription("metrics.record", (CampaignMetricsReported,), record_metrics, batch=1000),
)

if __name__ == "__main__":
    main("metrics", SUBSCRIPTIONS)
