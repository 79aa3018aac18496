"""Queries for connected platform accounts; tokens are encrypted (``infra.security.encryption``).

    connected      the auth worker refreshes the tokens when they are due
    disconnecting  the owner disconnected it: due at once, to be revoked at the platform and deleted
    disconnected   the platform rejects the tokens; they are erased, the reason is kept

A lease gives a row to one auth worker at a time. The worker's result is written only if the tokens
are the ones that it leased (``version`` changes with them), so a worker that was suspended beyond
its lease overwrites nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.security.encryption import Ciphertext
from infra.security.oauth_tokens import TokenSchedule
from infra.storage.tables import platform_accounts as table
from schemas.platform_accounts import AccountState, PlatformAccount
from schemas.types import Platform

PUT = text("""
    insert into platform_accounts (user_id, platform, state, scopes, key_id, ciphertext, version,
                                   expires_at, due_at)
    values (:user_id, :platform, 'connected', cast(:scopes as text[]), :key_id, :ciphertext,
            :version, :expires_at, :due_at)
    on conflict (user_id, platform) do update
    set state = 'connected', reason = null, scopes = excluded.scopes, key_id = excluded.key_id,
        ciphertext = excluded.ciphertext, version = excluded.version,
        expires_at = excluded.expires_at, due_at = excluded.due_at, leased_until = null,
        connected_at = now(), updated_at = now()
""")
LEASE = text("""
    update platform_accounts as a
    set leased_until = clock_timestamp() + make_interval(secs => cast(:seconds as float))
    from (
        select user_id, platform from platform_accounts
        where due_at < clock_timestamp()
            and (leased_until is null or leased_until < clock_timestamp())
            and (state = 'disconnecting' or not exists (
                select from pauses as p where p.name = platform and (p.kind = 'platform'
                    or (p.kind = 'account' and p.account = user_id::text))
            ))
        order by due_at limit :limit for update skip locked
    ) as due
    where a.user_id = due.user_id and a.platform = due.platform
    returning a.user_id, a.platform, a.state, a.version, a.key_id, a.ciphertext
""")
STORE_TOKENS = text("""
    update platform_accounts
    set key_id = :key_id, ciphertext = :ciphertext, version = :fresh, expires_at = :expires_at,
        due_at = case when state = 'connected' then :due_at else due_at end,
        scopes = coalesce(cast(:scopes as text[]), scopes), leased_until = null, updated_at = now()
    where user_id = :user_id and platform = :platform and version = :version
""")
MARK_DISCONNECTED = text("""
    update platform_accounts
    set state = 'disconnected', reason = :reason, ciphertext = '', key_id = '', version = :fresh,
        expires_at = null, due_at = null, leased_until = null, updated_at = now()
    where user_id = :user_id and platform = :platform and version = :version
        and state = 'connected'
    returning user_id
""")
REQUEST_DISCONNECT = text("""
    with held as materialized (
        select state from platform_accounts
        where user_id = :user_id and platform = :platform and state <> 'disconnected'
        for update
    )
    update platform_accounts as a
    set state = 'disconnecting', due_at = clock_timestamp(), updated_at = now()
    from held where a.user_id = :user_id and a.platform = :platform
    returning held.state
""")
DELETE = text("""
    delete from platform_accounts
    where user_id = :user_id and platform = :platform
        and (state = 'disconnected' or (state = 'disconnecting' and version = :version))
    returning user_id
""")
EXPEDITE_REFRESH = text("""
    update platform_accounts set due_at = clock_timestamp()
    where user_id = :user_id and platform = :platform and version = :version
        and state = 'connected'
        and updated_at < clock_timestamp() - make_interval(secs => cast(:seconds as float))
""")
REENCRYPT = text("""
    update platform_accounts set key_id = :key_id, ciphertext = :ciphertext
    where user_id = :user_id and platform = :platform and version = :version
""")


@dataclass(frozen=True, slots=True)
class PlatformAccountRow:
    """An account with its encrypted tokens."""

    user_id: UUID
    platform: Platform
    state: AccountState
    version: UUID
    ciphertext: Ciphertext

    @property
    def key(self) -> dict[str, object]:
        """The parameters that select the row in this version."""
        return {"user_id": self.user_id, "platform": self.platform, "version": self.version}


async def put_account(
    tx: AsyncConnection,
    user_id: UUID,
    platform: Platform,
    ciphertext: Ciphertext,
    times: TokenSchedule,
    scopes: Sequence[str],
) -> None:
    """Insert a connected account, or replace the tokens of one that exists."""
    row = {"user_id": user_id, "platform": platform, "scopes": list(scopes), "version": uuid4()}
    await tx.execute(PUT, {**row, **_ciphertext(ciphertext), **_times(times)})


async def list_accounts(tx: AsyncConnection, user_id: UUID) -> list[PlatformAccount]:
    """Read the accounts of a user as the API returns them, by platform."""
    columns = (table.c[name] for name in PlatformAccount.model_fields)
    query = select(*columns).where(table.c.user_id == user_id).order_by(table.c.platform)
    rows = await tx.execute(query)
    return [PlatformAccount.model_validate(row, from_attributes=True) for row in rows]


async def find_connected_accounts(
    tx: AsyncConnection, owners: Collection[tuple[UUID | None, str]]
) -> list[PlatformAccountRow]:
    """Read the connected accounts among these pairs of user and platform."""
    users = {user_id for user_id, _ in owners if user_id is not None}
    if not users:
        return []
    query = SELECT_ACCOUNT.where(table.c.user_id.in_(users), table.c.state == "connected")
    found = [_to_row(*row) for row in await tx.execute(query)]
    return [account for account in found if (account.user_id, account.platform) in owners]


async def lease_due_accounts(
    tx: AsyncConnection, limit: int, seconds: float
) -> list[PlatformAccountRow]:
    """Lease at most ``limit`` accounts that are due and not leased, for ``seconds``.

    While a platform or an account is paused, tokens there are revoked, but not refreshed.
    """
    return [_to_row(*row) for row in await tx.execute(LEASE, {"limit": limit, "seconds": seconds})]


async def store_refreshed_tokens(
    tx: AsyncConnection,
    account: PlatformAccountRow,
    ciphertext: Ciphertext,
    times: TokenSchedule,
    scopes: Sequence[str] | None,
) -> bool:
    """Write refreshed tokens; False when the row has changed. ``scopes`` None keeps the scopes."""
    fresh = {"fresh": uuid4(), "scopes": None if scopes is None else list(scopes)}
    done = await tx.execute(
        STORE_TOKENS, {**account.key, **fresh, **_ciphertext(ciphertext), **_times(times)}
    )
    return bool(done.rowcount)


async def mark_disconnected(tx: AsyncConnection, account: PlatformAccountRow, reason: str) -> bool:
    """Erase tokens that the platform rejects; False when the row has changed."""
    done = await tx.execute(MARK_DISCONNECTED, {**account.key, "fresh": uuid4(), "reason": reason})
    return done.one_or_none() is not None


async def request_disconnect(
    tx: AsyncConnection, user_id: UUID, platform: Platform
) -> AccountState | None:
    """Make an account due to be revoked and deleted.

    Returns its previous state; None when there is no account or it is disconnected.
    """
    done = await tx.execute(REQUEST_DISCONNECT, {"user_id": user_id, "platform": platform})
    before: AccountState | None = done.scalar_one_or_none()
    return before


async def delete_account(
    tx: AsyncConnection, user_id: UUID, platform: Platform, version: UUID | None = None
) -> bool:
    """Delete an account that is disconnected or, in this version, was revoked; else False."""
    row = {"user_id": user_id, "platform": platform, "version": version}
    return (await tx.execute(DELETE, row)).one_or_none() is not None


async def expedite_refresh(
    tx: AsyncConnection, accounts: Collection[PlatformAccountRow], min_age: float
) -> None:
    """Make tokens due for a refresh at once if they are older than ``min_age`` seconds."""
    for account in accounts:
        await tx.execute(EXPEDITE_REFRESH, {**account.key, "seconds": min_age})


async def find_earliest_expiries(tx: AsyncConnection) -> dict[str, datetime]:
    """Find, for each platform, when the first access token of a connected account expires."""
    query = select(table.c.platform, func.min(table.c.expires_at)).where(
        table.c.state == "connected", table.c.expires_at.is_not(None)
    )
    rows = await tx.execute(query.group_by(table.c.platform))
    return {row[0]: row[1] for row in rows}


async def lock_accounts_with_key(
    tx: AsyncConnection, key_ids: Collection[str], limit: int
) -> list[PlatformAccountRow]:
    """Read and lock accounts whose tokens are encrypted with one of these keys."""
    query = SELECT_ACCOUNT.where(table.c.key_id.in_(key_ids))
    rows = await tx.execute(query.limit(limit).with_for_update(skip_locked=True))
    return [_to_row(*row) for row in rows]


async def reencrypt(
    tx: AsyncConnection, account: PlatformAccountRow, ciphertext: Ciphertext
) -> None:
    """Write the same tokens, encrypted with another key."""
    await tx.execute(REENCRYPT, {**account.key, **_ciphertext(ciphertext)})


SELECT_ACCOUNT = select(
    *(table.c[n] for n in ("user_id", "platform", "state", "version", "key_id", "ciphertext"))
)


def _to_row(
    user_id: UUID, platform: Platform, state: AccountState, version: UUID, key_id: str, body: bytes
) -> PlatformAccountRow:
    return PlatformAccountRow(user_id, platform, state, version, Ciphertext(key_id, body))


def _ciphertext(ciphertext: Ciphertext) -> dict[str, object]:
    return {"key_id": ciphertext.key_id, "ciphertext": ciphertext.body}


def _times(times: TokenSchedule) -> dict[str, object]:
    return {"expires_at": times.expires_at, "due_at": times.due_at}
