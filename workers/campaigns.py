"""The campaigns worker: grants wishes about campaigns and records news from their platforms."""

from events import (
    CampaignCreateRequested,
    CampaignDeleteRequested,
    CampaignStatusReported,
    CampaignSynced,
    CampaignSyncRejected,
    CampaignUpdateRequested,
)
from handlers.campaigns.handlers import apply_campaigns, record_campaigns
from infra.messaging.subscription import Subscription
from infra.process import main

WISHES = (CampaignCreateRequested, CampaignUpdateRequested, CampaignDeleteRequested)
NEWS = (CampaignSynced, CampaignSyncRejected, CampaignStatusReported)

# One batch at a time: wishes about one campaign keep the order in which they came.
SUBSCRIPTIONS = (
    Subscription("campaigns.apply", WISHES, apply_campaigns, batch=200),
    Subscription("campaigns.record", NEWS, record_campaigns, batch=200),
)

if __name__ == "__main__":
    main("campaigns", SUBSCRIPTIONS)
