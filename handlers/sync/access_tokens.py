"""In whose name a campaign is pushed: its owner's where the account is connected, else ours.

Tokens are read with the campaigns, so there is nothing to be told when one has changed. A
token that the platform refuses is due for renewal at once; the auth worker sees to it, and
meanwhile only this owner's campaigns wait.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from events import CampaignSyncRequested, PlatformAccountConnected, PlatformAccountDisconnected
from events.campaigns import CampaignSyncRequestedData
from events.envelope import Event
from events.sources import SYNC_SOURCE
from infra.platforms.base import AccountUnavailable
from infra.security.encryption import DecryptionFailed, Encryptor
from infra.security.oauth_tokens import decrypt_tokens
from infra.settings import Settings
from infra.storage.campaigns import CampaignRow
from infra.storage.platform_accounts import (
    PlatformAccountRow,
    expedite_refresh,
    find_connected_accounts,
)
from infra.storage.tables import campaigns

DECRYPTION_RETRY_SECONDS = 60.0
# A fresh token that is refused was not refused for its age.
MIN_TOKEN_AGE_SECONDS = 60.0

AccountEvent = PlatformAccountConnected | PlatformAccountDisconnected


@dataclass(frozen=True, slots=True)
class OwnerToken:
    """An access token, and the account that it is of."""

    account: PlatformAccountRow
    token: str = field(repr=False)


async def load_owner_tokens(
    tx: AsyncConnection, pushed: Collection[CampaignRow], settings: Settings
) -> Mapping[UUID, OwnerToken | AccountUnavailable]:
    """Find the tokens of the owners of campaigns, by campaign; without an account none."""
    owners = {(campaign.owner_id, str(campaign.platform)) for campaign in pushed}
    held = await find_connected_accounts(tx, owners)
    if not held:
        return {}
    vault = Encryptor(settings)
    found: dict[tuple[UUID | None, str], OwnerToken | AccountUnavailable] = {
        (account.user_id, account.platform): _bearer(vault, account) for account in held
    }
    keys = {campaign.id: (campaign.owner_id, campaign.platform) for campaign in pushed}
    return {i: found[owner] for i, owner in keys.items() if owner in found}


async def refresh_rejected_tokens(tx: AsyncConnection, refused: Sequence[OwnerToken]) -> None:
    """Have tokens renewed that a platform has refused, unless they are fresh."""
    accounts = {owner_token.account.version: owner_token.account for owner_token in refused}
    await expedite_refresh(tx, accounts.values(), MIN_TOKEN_AGE_SECONDS)


async def request_resync_for_owner(tx: AsyncConnection, hint: AccountEvent) -> list[Event]:
    """Have the campaigns pushed of an owner who has connected an account.

    Where the account is connected no more, and after a disconnection, there is nothing to do:
    what is pushed from now on is pushed in our own name.
    """
    owner = (hint.data.user_id, hint.data.platform)
    if isinstance(hint, PlatformAccountDisconnected) or not await find_connected_accounts(
        tx, {owner}
    ):
        return []
    query = select(campaigns.c.id).where(
        campaigns.c.owner_id == hint.data.user_id,
        campaigns.c.platform == hint.data.platform,
        campaigns.c.deleted_at.is_(None),
    )
    return [_wish(hint, campaign_id) for (campaign_id,) in await tx.execute(query)]


def _bearer(vault: Encryptor, account: PlatformAccountRow) -> OwnerToken | AccountUnavailable:
    try:
        tokens = decrypt_tokens(vault, account.user_id, account.platform, account.ciphertext)
    except DecryptionFailed as locked:
        return AccountUnavailable(
            f"the tokens of a connected account: {locked}", DECRYPTION_RETRY_SECONDS
        )
    return OwnerToken(account, tokens.access)


def _wish(hint: AccountEvent, campaign_id: UUID) -> Event:
    wish = CampaignSyncRequestedData(campaign_id=campaign_id, platform=hint.data.platform)
    subject = str(campaign_id)
    return CampaignSyncRequested.caused_by(hint, source=SYNC_SOURCE, subject=subject, data=wish)
