"""Lists of the accounts at the platforms for people, by cursor.

How much waits for an account is counted among the newest campaigns of its owner, and what was
skipped while it was paused: both are bounded, so a page costs the same whatever there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.platform_accounts import AccountState

MAX_CAMPAIGNS = 500  # of an owner, the newest, among which those that wait are counted
MAX_SKIPPED = 1000

# A campaign that was deleted before any push of it needs none (``infra.messaging.pause_commands``).
SELECT = """
    select a.user_id, a.platform, a.state, a.reason, a.expires_at, a.connected_at, u.email,
        waits.behind, waits.seen, skipped.number as skipped
    from accounts as a
    join users as u on u.id = a.user_id
    cross join lateral (
        select count(*) as seen, count(*) filter (
            where c.platform = a.platform and c.desired_version > c.synced_version
                and (c.deleted_at is null or c.platform_campaign_id is not null
                     or c.leased_until is not null)
        ) as behind
        from (
            select * from campaigns where owner_id = a.user_id
            order by created_at desc, id desc limit :most
        ) as c
    ) as waits
    cross join lateral (
        select count(*) as number from (
            select from skipped_triggers
            where queue = 'sync.' || a.platform and account = a.user_id::text limit :skipped
        ) as s
    ) as skipped
    order by a.user_id, a.platform
"""
LIST = text(f"""
    with accounts as (
        select user_id, platform, state, reason, expires_at, connected_at from platform_accounts
        where (cast(:platform as text) is null or platform = :platform)
            and (cast(:state as text) is null or state = :state)
            and (cast(:after_user as uuid) is null
                 or (user_id, platform) > (cast(:after_user as uuid), cast(:after as text)))
        order by user_id, platform limit :limit
    )
    {SELECT}
""")  # noqa: S608 - no part of it is input
LIST_OWN = text(f"""
    with owned as (
        select platform from campaigns where owner_id = :owner
        order by created_at desc, id desc limit :most
    ), accounts as (
        select user_id, platform, state, reason, expires_at, connected_at from platform_accounts
        where user_id = :owner
        union all
        select distinct cast(:owner as uuid), o.platform, null, null,
            cast(null as timestamptz), cast(null as timestamptz)
        from owned as o where not exists (
            select from platform_accounts as p where p.user_id = :owner and p.platform = o.platform
        )
    )
    {SELECT}
""")  # noqa: S608 - no part of it is input


class AccountCursor(NamedTuple):
    """A place in a list: the account that was read last."""

    user_id: UUID
    platform: str


@dataclass(frozen=True, slots=True)
class ListedAccount:
    """An account; ``state`` is None for an owner of campaigns who has connected none there.

    ``behind`` campaigns are newer here than at the platform, among the newest ``seen`` of the
    owner; ``skipped`` triggers wait for the resume of the account. Times are UTC.
    """

    user_id: UUID
    platform: str
    state: AccountState | None
    reason: str | None
    expires_at: datetime | None
    connected_at: datetime | None
    email: str
    behind: int
    seen: int
    skipped: int

    @property
    def is_partial(self) -> bool:
        """Whether the owner has more campaigns than were looked at."""
        return self.seen >= MAX_CAMPAIGNS


@dataclass(frozen=True, slots=True)
class ListedAccounts:
    """Accounts, and where the list goes on (None: it is at its end)."""

    rows: Sequence[ListedAccount]
    next: AccountCursor | None


async def list_platform_accounts(
    tx: AsyncConnection,
    platform: str | None,
    state: AccountState | None,
    after: AccountCursor | None,
    limit: int,
) -> ListedAccounts:
    """List the connected accounts by the ids of their owners, from those after ``after``."""
    values = {
        "platform": platform,
        "state": state,
        "after_user": None if after is None else after.user_id,
        "after": "" if after is None else after.platform,
        "limit": limit + 1,
        **_limits(),
    }
    rows = [ListedAccount(**row._mapping) for row in await tx.execute(LIST, values)]  # noqa: SLF001 - public, by its docs
    shown = rows[:limit]
    more = len(rows) > limit
    return ListedAccounts(
        shown, AccountCursor(shown[-1].user_id, shown[-1].platform) if more else None
    )


async def list_own_accounts(tx: AsyncConnection, owner: UUID) -> ListedAccounts:
    """List the accounts of one owner, and the platforms where it has campaigns without one."""
    rows = await tx.execute(LIST_OWN, {"owner": owner, **_limits()})
    return ListedAccounts([ListedAccount(**row._mapping) for row in rows], None)  # noqa: SLF001 - public, by its docs


def _limits() -> dict[str, int]:
    return {"most": MAX_CAMPAIGNS, "skipped": MAX_SKIPPED}
