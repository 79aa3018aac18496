"""Refreshes the tokens of platform accounts before they expire, and revokes disconnected ones.

    lease (transaction) -> call the platform, no transaction open -> write (transaction)

Any number of auth workers may run this: a lease assigns each account to one of them. If a platform
does not answer, it is called again after the lease expires. If a platform rejects the refresh
token, the account is marked disconnected, with the reason.
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
from infra.security.encryption import DecryptionFailed
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

MAX_ACCOUNTS = 16  # accounts leased, and platforms called, at once
LEASE_SECONDS = 30.0  # longer than a call to a platform may take

log = logging.getLogger(__name__)


async def refresh_tokens_forever(resources: Resources, stop: asyncio.Event) -> None:
    """Refresh and revoke what is due until ``stop`` is set."""
    backoff = Backoff(first=0.5, longest=10)
    while not stop.is_set():
        try:
            count = await refresh_due_tokens(resources)
            backoff.reset()
        except (SQLAlchemyError, OSError, DecryptionFailed) as error:
            log.warning("token refresh failed", extra={"error": type(error).__name__})
            await backoff.sleep(stop)
            continue
        if count < MAX_ACCOUNTS:
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait({stopped}, timeout=resources.settings.account_poll)
            stopped.cancel()


async def refresh_due_tokens(resources: Resources) -> int:
    """Refresh or revoke the accounts that are due, once; returns how many those were."""
    lease = max(LEASE_SECONDS, 2 * resources.settings.platform_timeout)
    async with resources.engine.begin() as tx:
        due = await store.lease_due_accounts(tx, MAX_ACCOUNTS, lease)
    async with asyncio.TaskGroup() as group:
        for account in due:
            group.create_task(_process(resources, account))
    if resources.keys.encryptor.retired_key_ids:
        await _reencrypt(resources)
    return len(due)


async def _process(resources: Resources, account: PlatformAccountRow) -> None:
    """Refresh or revoke one account; a failure is counted, logged and tried again later."""
    process = _revoke if account.state == "disconnecting" else _refresh
    owner = (account.user_id, account.platform)
    try:
        tokens = decrypt_tokens(resources.keys.encryptor, *owner, account.ciphertext)
        outcome = await process(resources, account, tokens)
    except (HttpFailure, OAuthError, DecryptionFailed, SQLAlchemyError, OSError) as error:
        outcome = "failed"
        reason = type(error).__name__ if isinstance(error, SQLAlchemyError) else str(error)
        details = {"platform": account.platform, "reason": reason}
        log.warning("token refresh of an account failed, will be tried again", extra=details)
    metrics.ACCOUNT_RENEWALS.labels(account.platform, outcome).inc()


async def _refresh(resources: Resources, account: PlatformAccountRow, tokens: OAuthTokens) -> str:
    title = PLATFORMS[account.platform].TITLE
    if tokens.refresh is None:
        return await _disconnect(resources, account, f"{title} issued no refresh token")
    requested_at = now()
    try:
        grant = await resources.oauth_clients[account.platform].refresh(tokens.refresh)
    except OAuthError as error:
        if not error.is_invalid_grant:
            raise
        reason = f"{title} no longer accepts the consent: {error.message or error.code}"
        return await _disconnect(resources, account, reason)
    fresh = build_tokens(grant, before=tokens)
    encrypted = encrypt_tokens(resources.keys.encryptor, account.user_id, account.platform, fresh)
    schedule = schedule_refresh(grant, fresh, requested_at)
    scopes = None if grant.scope is None else grant.scope.split()

    async def write(tx: AsyncConnection) -> bool:
        return await store.store_refreshed_tokens(tx, account, encrypted, schedule, scopes)

    return "renewed" if await _write_during_outage(resources, write) else "overtaken"


async def _revoke(resources: Resources, account: PlatformAccountRow, tokens: OAuthTokens) -> str:
    try:
        await resources.oauth_clients[account.platform].revoke(tokens.revocation_token)
    except OAuthError as error:
        if not error.is_invalid_grant:  # otherwise the consent has ended already
            raise
    async with resources.engine.begin() as tx:
        await store.delete_account(tx, account.user_id, account.platform, account.version)
    return "revoked"


async def _disconnect(resources: Resources, account: PlatformAccountRow, reason: str) -> str:
    """Mark an account disconnected, publish that and record it in the audit log."""
    data = PlatformAccountDisconnectedData(
        platform=account.platform, user_id=account.user_id, reason=reason
    )
    disconnected = PlatformAccountDisconnected(
        source=AUTH_SOURCE, subject=str(account.user_id), data=data
    )
    # Without an actor: the platform ended the consent, or its owner did there.
    subject = f"{account.platform}/{account.user_id}"
    entry = AuditRecordedData(action="platform.lapse", outcome="ok", subject=subject)
    audited = AuditRecorded.caused_by(disconnected, source=AUTH_SOURCE, data=entry)
    async with resources.engine.begin() as tx:
        if not await store.mark_disconnected(tx, account, reason):
            return "overtaken"
        await insert_audit_entries(tx, [audited])
        await outbox.add(tx, [build_message(disconnected), build_message(audited)])
    await outbox.notify(resources.redis)
    return "lapsed"


async def _write_during_outage(
    resources: Resources, write: Callable[[AsyncConnection], Awaitable[bool]]
) -> bool:
    """Write what must not be lost: retries through an outage while the lease lasts.

    The platform has issued a new refresh token, and the old one is invalid now.
    Raises ``TimeoutError`` (an ``OSError``) when the lease ends first.
    """
    backoff = Backoff(first=0.1, longest=2)
    async with asyncio.timeout(LEASE_SECONDS):
        while True:
            try:
                async with resources.engine.begin() as tx:
                    return await write(tx)
            except (SQLAlchemyError, OSError):
                await backoff.sleep()


async def _reencrypt(resources: Resources) -> None:
    """Encrypt with the newest key what a retired key has encrypted."""
    encryptor = resources.keys.encryptor
    async with resources.engine.begin() as tx:
        for account in await store.lock_accounts_with_key(
            tx, encryptor.retired_key_ids, MAX_ACCOUNTS
        ):
            owner = (account.user_id, account.platform)
            tokens = decrypt_tokens(encryptor, *owner, account.ciphertext)
            await store.reencrypt(tx, account, encrypt_tokens(encryptor, *owner, tokens))
