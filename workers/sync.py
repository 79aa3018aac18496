"""The sync worker: one queue for each platform, so that an outage of one delays no other."""

from events import (
    CampaignDeleted,
    CampaignSaved,
    CampaignStatusCheckRequested,
    CampaignSyncRequested,
    PlatformAccountConnected,
    PlatformAccountDisconnected,
)
from handlers.sync.handlers import push_campaigns, sync_campaigns
from handlers.sync.skipping import SyncEvent
from infra.messaging.subscription import Subscription
from infra.process import main
from infra.security.encryption import Encryptor
from schemas.types import PLATFORMS

SYNC_TRIGGERS: tuple[type[SyncEvent], ...] = (
    CampaignSaved,
    CampaignDeleted,
    CampaignSyncRequested,
    CampaignStatusCheckRequested,
    PlatformAccountConnected,
    PlatformAccountDisconnected,
)

SUBSCRIPTIONS = tuple(
    Subscription(
        f"sync.{platform}",
        SYNC_TRIGGERS,
        sync_campaigns,
        prepare=push_campaigns,
        batch=20,
        parallel=4,
    )
    for platform in PLATFORMS
)

if __name__ == "__main__":
    main("sync", SUBSCRIPTIONS, check=Encryptor)
