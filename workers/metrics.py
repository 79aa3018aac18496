"""The metrics worker: records what platforms and upstream systems report about campaigns' days."""

from events import CampaignMetricsReported
from handlers.metrics import record_metrics
from infra.run import main
from infra.subscription import Subscription

SUBSCRIPTIONS = (
    Subscription("metrics.record", (CampaignMetricsReported,), record_metrics, batch=1000),
)

if __name__ == "__main__":
    main("metrics", SUBSCRIPTIONS)
