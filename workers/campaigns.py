"""The campaigns worker: grants wishes about campaigns and records news from their platforms."""

from events import (
    CampaignCreateRequested,
    CampaignDeleteRequested,
    CampaignStatusReported,
    CampaignSynced,
    CampaignSyncRejected,
    CampaignUpdateRequested,
)
from handlers.campaigns.handlers import apply_commands, apply_platform_updates
from infra.messaging.subscription import Subscription
from infra.process import main

COMMANDS = (CampaignCreateRequested, CampaignUpdateRequested, CampaignDeleteRequested)
PLATFORM_UPDATES = (CampaignSynced, CampaignSyncRejected, CampaignStatusReported)

# One batch at a time: wishes about one campaign keep the order in which they came.
SUBSCRIPTIONS = (
    Subscription("campaigns.apply", COMMANDS, apply_commands, batch=200),
    Subscription("campaigns.record", PLATFORM_UPDATES, apply_platform_updates, batch=200),
)

if __name__ == "__main__":
    main("campaigns", SUBSCRIPTIONS)
