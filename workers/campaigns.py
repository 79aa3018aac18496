"""The campaigns worker: applies commands about campaigns and records updates from platforms."""

from events import (
    CampaignCreateRequested,
    CampaignDeleteRequested,
    CampaignStatusReported,
    CampaignSynced,
    CampaignSyncRejected,
    CampaignUpdateRequested,
)
from events.campaigns import CampaignCommand
from handlers.campaigns.handlers import apply_commands, apply_platform_updates
from handlers.campaigns.platform_updates import PlatformUpdate
from infra.messaging.subscription import Subscription
from infra.process import main

COMMANDS: tuple[type[CampaignCommand], ...] = (
    CampaignCreateRequested,
    CampaignUpdateRequested,
    CampaignDeleteRequested,
)
PLATFORM_UPDATES: tuple[type[PlatformUpdate], ...] = (
    CampaignSynced,
    CampaignSyncRejected,
    CampaignStatusReported,
)

# One batch at a time: commands about one campaign keep their order of arrival.
SUBSCRIPTIONS = (
    Subscription("campaigns.apply", COMMANDS, apply_commands, batch=200),
    Subscription("campaigns.record", PLATFORM_UPDATES, apply_platform_updates, batch=200),
)

if __name__ == "__main__":
    main("campaigns", SUBSCRIPTIONS)
