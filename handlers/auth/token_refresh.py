"""Connected accounts are kept: tokens renewed ahead of their end, withdrawn consents revoked.

    lease (transaction) -> ask the platform, no transaction open -> write (transaction)

Any number of auth workers may do it: a lease gives each account to one of them. A platform
that does not answer is asked again when the lease ends. A platform that takes the refresh
token no more has the last word: the account is disconnected, with the reason.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from events import AuditRecorded, PlatformAccountDisconnected
from events.audit import AuditRecordedData
from events.envelope import now
from events.platform_accounts import PlatformAccountDisconnectedData
from events.sources import AUTH_SOURCE
from infra import metrics
from infra.amqp.message import build_message
from infra.backoff import Backoff
from infra.http.client import HttpFailure
from infra.messaging import outbox
from infra.platforms import PLATFORMS
from infra.platforms.oauth import OAuthError
from infra.resources import Resources
from infra.security.encryption import DecryptionFailed, Encryptor
from infra.security.oauth_tokens import (
    OAuthTokens,
    build_tokens,
    decrypt_tokens,
    encrypt_tokens,
    schedule_refresh,
)
from infra.storage import platform_accounts as store
from infra.storage.audit import insert_audit_entries
from infra.storage.platform_accounts import PlatformAccountRow
from schemas.oauth import TokenResponse

MOST = 16  # accounts a lease, all asked about at once
LEASE_SECONDS = 30.0  # longer than a platform may take

log = logging.getLogger(__name__)


async def keep_accounts(resources: Resources, stop: asyncio.Event) -> None:
    """Do what is due until ``stop`` is set."""
    vault = Encryptor(resources.settings)
    backoff = Backoff(first=0.5, longest=10)
    while not stop.is_set():
        try:
            kept = await keep_once(resources, vault)
            backoff.reset()
        except (SQLAlchemyError, OSError, DecryptionFailed) as error:
            log.warning("token refresh failed", extra={"error": type(error).__name__})
            await backoff.sleep(stop)
            continue
        if kept < MOST:
            waiting = asyncio.ensure_future(stop.wait())
            await asyncio.wait({waiting}, timeout=resources.settings.account_poll)
            waiting.cancel()


async def keep_once(resources: Resources, vault: Encryptor) -> int:
    """Take what is due in hand, once; tells how many accounts that were."""
    lease = max(LEASE_SECONDS, 2 * resources.settings.platform_timeout)
    async with resources.engine.begin() as tx:
        due = await store.lease_due_accounts(tx, MOST, lease)
    async with asyncio.TaskGroup() as group:
        for account in due:
            group.create_task(_keep(resources, vault, account))
    if vault.retired_key_ids:
        await _reseal(resources, vault)
    return len(due)


async def _keep(resources: Resources, vault: Encryptor, account: PlatformAccountRow) -> None:
    """Renew or revoke one account; what fails is counted, told and tried again later."""
    keep = _revoke if account.state == "disconnecting" else _renew
    try:
        tokens = decrypt_tokens(vault, account.user_id, account.platform, account.ciphertext)
        outcome = await keep(resources, vault, account, tokens)
    except (HttpFailure, OAuthError, DecryptionFailed, SQLAlchemyError, OSError) as error:
        outcome = "failed"
        reason = type(error).__name__ if isinstance(error, SQLAlchemyError) else str(error)
        details = {"platform": account.platform, "reason": reason}
        log.warning("an account could not be kept", extra=details)
    metrics.ACCOUNT_RENEWALS.labels(account.platform, outcome).inc()


async def _renew(
    resources: Resources, vault: Encryptor, account: PlatformAccountRow, tokens: OAuthTokens
) -> str:
    title = PLATFORMS[account.platform].TITLE
    if tokens.refresh is None:
        return await _lapse(resources, account, f"{title} gave no token to renew its access with")
    began = now()
    try:
        grant = await resources.oauth_clients[account.platform].refresh(tokens.refresh)
    except OAuthError as refused:
        if not refused.is_invalid_grant:
            raise
        reason = f"{title} takes the consent no more: {refused.message or refused.code}"
        return await _lapse(resources, account, reason)
    fresh = build_tokens(grant, before=tokens)
    sealed = encrypt_tokens(vault, account.user_id, account.platform, fresh)
    times = schedule_refresh(grant, fresh, began)

    async def write(tx: AsyncConnection) -> bool:
        return await store.store_refreshed_tokens(tx, account, sealed, times, _scopes(grant))

    return "renewed" if await _write(resources, write) else "overtaken"


async def _revoke(
    resources: Resources,
    vault: Encryptor,  # noqa: ARG001 - nothing is written
    account: PlatformAccountRow,
    tokens: OAuthTokens,
) -> str:
    try:
        await resources.oauth_clients[account.platform].revoke(tokens.revocation_token)
    except OAuthError as refused:
        if not refused.is_invalid_grant:  # it is over already
            raise
    async with resources.engine.begin() as tx:
        await store.delete_account(tx, account.user_id, account.platform, account.version)
    return "revoked"


async def _lapse(resources: Resources, account: PlatformAccountRow, reason: str) -> str:
    data = PlatformAccountDisconnectedData(
        platform=account.platform, user_id=account.user_id, reason=reason
    )
    gone = PlatformAccountDisconnected(source=AUTH_SOURCE, subject=str(account.user_id), data=data)
    # Nobody here has acted: the platform, or its owner there, has.
    subject = f"{account.platform}/{account.user_id}"
    entry = AuditRecordedData(action="platform.lapse", outcome="ok", subject=subject)
    act = AuditRecorded.caused_by(gone, source=AUTH_SOURCE, data=entry)
    async with resources.engine.begin() as tx:
        if not await store.mark_disconnected(tx, account, reason):
            return "overtaken"
        await insert_audit_entries(tx, [act])
        await outbox.add(tx, [build_message(gone), build_message(act)])
    await outbox.notify(resources.redis)
    return "lapsed"


async def _write(resources: Resources, write: Callable[[AsyncConnection], Awaitable[bool]]) -> bool:
    """Write what must not be lost: through an outage, again and again while the lease lasts.

    The platform has given a new refresh token for the old one, which is worth nothing now.
    """
    backoff = Backoff(first=0.1, longest=2)
    async with asyncio.timeout(LEASE_SECONDS):
        while True:
            try:
                async with resources.engine.begin() as tx:
                    return await write(tx)
            except (SQLAlchemyError, OSError):
                await backoff.sleep()


async def _reseal(resources: Resources, vault: Encryptor) -> None:
    """Seal with the newest key what an older one has sealed."""
    async with resources.engine.begin() as tx:
        for account in await store.lock_accounts_with_key(tx, vault.retired_key_ids, MOST):
            owner = (account.user_id, account.platform)
            tokens = decrypt_tokens(vault, *owner, account.ciphertext)
            await store.reencrypt(tx, account, encrypt_tokens(vault, *owner, tokens))


def _scopes(grant: TokenResponse) -> list[str] | None:
    return None if grant.scope is None else grant.scope.split()
