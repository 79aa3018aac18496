"""Queries for a restore from the event log: versions of campaigns, and what is to be synced again.

Commands that are handled again need not lead to the versions that they had: what changed a status
in between counts too, and batches are divided differently. The log tells the versions, so campaigns
are raised to them. A version is never lowered, and a later desired state never gets the version of
an earlier one: what was synced would be taken for it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.campaigns import CampaignRow, find_rows

RAISE_DESIRED = text("""
    update campaigns as c set
        desired_version = f.target, version = greatest(c.version, f.target)
    from (
        select c.id, f.version + (c.last_command ->> 'id' is distinct from f.cause)::int as target
        from unnest(
            cast(:ids as uuid[]), cast(:versions as bigint[]), cast(:causes as text[])
        ) as f (id, version, cause)
        join campaigns as c on c.id = f.id
    ) as f
    where c.id = f.id and c.desired_version < f.target
""")
RAISE = text("""
    update campaigns as c set version = f.version
    from unnest(cast(:ids as uuid[]), cast(:versions as bigint[])) as f (id, version)
    where c.id = f.id and c.version < f.version
""")
# What was ever leased may be at its platform; the lease of a restored campaign is not known.
FIND_UNSYNCED = text("""
    update campaigns set leased_until = coalesce(leased_until, clock_timestamp())
    where id in (
        select id from campaigns
        where id > :after and desired_version > synced_version order by id limit :most
    )
    returning id
""")


@dataclass(frozen=True, slots=True)
class SavedVersion:
    """The desired version that a command led to: ``cause`` is the command's event id."""

    campaign_id: UUID
    version: int
    cause: str | None


async def raise_desired_versions(tx: AsyncConnection, saved: Collection[SavedVersion]) -> None:
    """Raise campaigns to the highest of these desired versions.

    One whose newest command is another than the one that led to it gets the version after it.
    """
    highest: dict[UUID, SavedVersion] = {}
    for one in saved:
        known = highest.get(one.campaign_id)
        if known is None or one.version > known.version:
            highest[one.campaign_id] = one
    if not highest:
        return
    found = sorted(highest.values(), key=lambda one: one.campaign_id)
    values = {
        "ids": [one.campaign_id for one in found],
        "versions": [one.version for one in found],
        "causes": [one.cause for one in found],
    }
    await tx.execute(RAISE_DESIRED, values)


async def raise_versions(tx: AsyncConnection, seen: Collection[tuple[UUID, int]]) -> None:
    """Raise campaigns to the highest of these versions, which the API returns."""
    highest: dict[UUID, int] = {}
    for campaign_id, version in seen:
        highest[campaign_id] = max(version, highest.get(campaign_id, 0))
    if highest:
        ids = sorted(highest)
        await tx.execute(RAISE, {"ids": ids, "versions": [highest[i] for i in ids]})


async def take_unsynced(tx: AsyncConnection, after: UUID, most: int) -> list[CampaignRow]:
    """Find campaigns whose desired version is newer than the synced one, in the order of their ids.

    Each is noted as one that its platform may hold.
    """
    rows = await tx.execute(FIND_UNSYNCED, {"after": after, "most": most})
    return await find_rows(tx, [row.id for row in rows])
