"""Finds the access token for a push: of the owner's connected account, or else our own.

Tokens are read together with the campaigns, so a changed token needs no event. A token that the
platform rejects is due for a refresh at once; the auth worker does it, and meanwhile only this
owner's campaigns wait.
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
from infra.platforms.results import AccountUnavailable
from infra.security.encryption import DecryptionFailed, Encryptor
from infra.security.oauth_tokens import decrypt_tokens
from infra.storage.campaigns import CampaignRow
from infra.storage.platform_accounts import (
    PlatformAccountRow,
    expedite_refresh,
    find_connected_accounts,
)
from infra.storage.tables import campaigns

DECRYPTION_RETRY_SECONDS = 60.0
# A younger token was not rejected because it expired, so a refresh would not help.
MIN_TOKEN_AGE_SECONDS = 60.0

AccountEvent = PlatformAccountConnected | PlatformAccountDisconnected


@dataclass(frozen=True, slots=True)
class OwnerToken:
    """An access token and the connected account that it belongs to."""

    account: PlatformAccountRow
    token: str = field(repr=False)


async def load_owner_tokens(
    tx: AsyncConnection, campaigns_to_push: Collection[CampaignRow], encryptor: Encryptor
) -> Mapping[UUID, OwnerToken | AccountUnavailable]:
    """Read the access tokens of the owners of campaigns, by campaign id.

    A campaign whose owner has no connected account is missing in the result.
    """
    owners = {(campaign.owner_id, str(campaign.platform)) for campaign in campaigns_to_push}
    accounts = await find_connected_accounts(tx, owners)
    if not accounts:
        return {}
    found: dict[tuple[UUID | None, str], OwnerToken | AccountUnavailable] = {
        (account.user_id, account.platform): _open_token(encryptor, account) for account in accounts
    }
    keys = {campaign.id: (campaign.owner_id, campaign.platform) for campaign in campaigns_to_push}
    return {i: found[owner] for i, owner in keys.items() if owner in found}


async def refresh_rejected_tokens(tx: AsyncConnection, rejected: Sequence[OwnerToken]) -> None:
    """Expedite the refresh of tokens that a platform has rejected, unless they are new."""
    accounts = {token.account.version: token.account for token in rejected}
    await expedite_refresh(tx, accounts.values(), MIN_TOKEN_AGE_SECONDS)


async def request_resync_for_owner(tx: AsyncConnection, event: AccountEvent) -> list[Event]:
    """Request a push of every campaign of an owner who has connected an account.

    After a disconnection, or if the account is not connected any longer, nothing is requested:
    later pushes use our own token.
    """
    owner = (event.data.user_id, event.data.platform)
    if isinstance(event, PlatformAccountDisconnected) or not await find_connected_accounts(
        tx, {owner}
    ):
        return []
    query = select(campaigns.c.id).where(
        campaigns.c.owner_id == event.data.user_id,
        campaigns.c.platform == event.data.platform,
        campaigns.c.deleted_at.is_(None),
    )
    return [_build_request(event, campaign_id) for (campaign_id,) in await tx.execute(query)]


def _open_token(
    encryptor: Encryptor, account: PlatformAccountRow
) -> OwnerToken | AccountUnavailable:
    try:
        tokens = decrypt_tokens(encryptor, account.user_id, account.platform, account.ciphertext)
    except DecryptionFailed as error:
        return AccountUnavailable(
            f"the tokens of a connected account: {error}", DECRYPTION_RETRY_SECONDS
        )
    return OwnerToken(account, tokens.access)


def _build_request(event: AccountEvent, campaign_id: UUID) -> Event:
    data = CampaignSyncRequestedData(campaign_id=campaign_id, platform=event.data.platform)
    subject = str(campaign_id)
    return CampaignSyncRequested.caused_by(event, source=SYNC_SOURCE, subject=subject, data=data)
