"""Queries for sync triggers that were skipped because their account was paused.

A new version of a campaign needs no row: its versions tell that it is to be pushed. Of triggers
that nobody waits for, the newest about a campaign is kept.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.sources import API_SOURCE
from schemas.types import Platform

# While a row is locked for key share, the pause cannot be deleted.
LOCK_PAUSES = text("""
    select account from pauses
    where kind = 'account' and name = :platform and account = any(cast(:accounts as text[]))
    for key share
""")
DELETE_OLDER = text("""
    delete from skipped_triggers as s
    using unnest(cast(:types as text[]), cast(:subjects as text[])) as n (type, subject)
    where s.queue = :queue and s.type = n.type and s.subject = n.subject and s.source <> :api
""")
INSERT = text("""
    insert into skipped_triggers (queue, key, account, type, source, subject, body)
    select :queue, * from unnest(
        cast(:keys as uuid[]), cast(:accounts as text[]), cast(:types as text[]),
        cast(:sources as text[]), cast(:subjects as text[]), cast(:bodies as bytea[])
    )
    on conflict (queue, key) do nothing
""")
TAKE = text("""
    delete from skipped_triggers where (queue, key) in (
        select queue, key from skipped_triggers
        where queue = :queue and account = :account order by skipped_at, key limit :most
    )
    returning key, account, type, source, subject, body, skipped_at
""")
FORGET = text("""
    delete from inbox where consumer = :queue and key = any(cast(:keys as uuid[]))
""")

OWNERS = text("""
    select id, platform, platform_campaign_id, owner_id from campaigns
    where id = any(cast(:ids as uuid[])) and owner_id is not null
    union all
    select c.id, c.platform, c.platform_campaign_id, c.owner_id
    from unnest(cast(:platforms as text[]), cast(:names as text[])) as r (platform, name)
    join campaigns c on c.platform = r.platform and c.platform_campaign_id = r.name
    where c.owner_id is not null
""")


@dataclass(frozen=True, slots=True)
class SkippedTrigger:
    """A sync trigger of a paused account; ``key`` is that of the inbox, ``body`` the event."""

    key: UUID
    account: str
    type: str
    source: str
    subject: str
    body: bytes


async def find_owners(
    tx: AsyncConnection, ids: Collection[UUID], platform_ids: Collection[tuple[Platform, str]]
) -> Mapping[UUID | tuple[Platform, str], UUID]:
    """Find the owners of campaigns, by our ids and by the platforms'; skips those without one."""
    pairs = list(platform_ids)
    asked = {
        "ids": list(ids),
        "platforms": [platform for platform, _ in pairs],
        "names": [name for _, name in pairs],
    }
    owners: dict[UUID | tuple[Platform, str], UUID] = {}
    for row in await tx.execute(OWNERS, asked):
        owners[row.id] = row.owner_id
        owners[row.platform, row.platform_campaign_id] = row.owner_id
    return owners


async def lock_paused_accounts(
    tx: AsyncConnection, platform: str, accounts: Sequence[str]
) -> set[str]:
    """Find which of these accounts are paused, and keep them so until the transaction ends."""
    asked = {"platform": platform, "accounts": sorted(set(accounts))}
    return {row.account for row in await tx.execute(LOCK_PAUSES, asked)}


async def insert_skipped(
    tx: AsyncConnection, queue: str, triggers: Sequence[SkippedTrigger]
) -> None:
    """Keep skipped triggers, to be given again."""
    awaited = [trigger for trigger in triggers if trigger.source == API_SOURCE]
    others = {(t.type, t.subject): t for t in triggers if t.source != API_SOURCE}
    if others:
        types, subjects = zip(*others, strict=True)
        names = {"types": list(types), "subjects": list(subjects)}
        await tx.execute(DELETE_OLDER, {"queue": queue, "api": API_SOURCE, **names})
    kept = [*awaited, *others.values()]
    values = {
        "keys": [trigger.key for trigger in kept],
        "accounts": [trigger.account for trigger in kept],
        "types": [trigger.type for trigger in kept],
        "sources": [trigger.source for trigger in kept],
        "subjects": [trigger.subject for trigger in kept],
        "bodies": [trigger.body for trigger in kept],
    }
    await tx.execute(INSERT, {"queue": queue, **values})


async def take_skipped(
    tx: AsyncConnection, queue: str, account: str, most: int
) -> list[SkippedTrigger]:
    """Delete at most ``most`` skipped triggers of an account, and their marks in the inbox.

    Returns them, the oldest first.
    """
    rows = (await tx.execute(TAKE, {"queue": queue, "account": account, "most": most})).all()
    ordered = sorted(rows, key=lambda row: (row.skipped_at, row.key))
    await tx.execute(FORGET, {"queue": queue, "keys": [row.key for row in ordered]})
    return [SkippedTrigger(r.key, r.account, r.type, r.source, r.subject, r.body) for r in ordered]
