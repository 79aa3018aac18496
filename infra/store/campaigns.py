"""Campaigns in Postgres: read by id or by page, locked and written in batches.

Who changes campaigns locks their rows first, in the order of their ids, so that two
batches wait for each other instead of dead-locking; then one statement writes them all.
A deleted campaign stays as a tombstone, invisible to readers, so that whatever comes late
finds out.
"""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import ARRAY, Row, Select, Text, Uuid, any_, column, func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.campaigns import SavedCampaign, WantedStatus
from infra.tables import campaigns
from schemas.base import Platform, units_of
from schemas.campaigns import Campaign, CampaignStatus, Targeting

COLUMNS = """
    id, owner_id, platform, name, status, wanted_status, budget_micros, currency, targeting,
    platform_campaign_id, version, wanted_version, synced_version, status_reported_at,
    synced_at, deleted_at, created_at, updated_at
"""
RECORDS = """
    select * from jsonb_to_recordset(cast(:rows as jsonb)) as r (
        id uuid, owner_id uuid, platform text, name text, status text, wanted_status text,
        budget_micros bigint, currency text, targeting jsonb, platform_campaign_id text,
        version integer, wanted_version integer, synced_version integer,
        status_reported_at timestamptz, synced_at timestamptz, deleted_at timestamptz,
        created_at timestamptz, updated_at timestamptz
    )
"""
INSERT = text(
    f"insert into campaigns ({COLUMNS}) {RECORDS} order by id"
    " on conflict (id) do nothing returning id"
)
UPDATE = text(f"""
    update campaigns as c set
        name = r.name, status = r.status, wanted_status = r.wanted_status,
        budget_micros = r.budget_micros, targeting = r.targeting,
        platform_campaign_id = r.platform_campaign_id, version = r.version,
        wanted_version = r.wanted_version, synced_version = r.synced_version,
        status_reported_at = r.status_reported_at, synced_at = r.synced_at,
        deleted_at = r.deleted_at, updated_at = r.updated_at
    from ({RECORDS}) as r where c.id = r.id
""")  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class StoredCampaign:
    """A row of ``campaigns``: what the API shows, what its owner wants, what is synced.

    ``version`` counts every change that the API shows, ``wanted_version`` is the version
    that last changed the owner's wish, ``synced_version`` the wish that the platform holds.
    """

    id: UUID
    owner_id: UUID | None
    platform: Platform
    name: str
    status: CampaignStatus
    wanted_status: WantedStatus
    budget_micros: int
    currency: str
    targeting: Targeting
    created_at: datetime
    updated_at: datetime
    platform_campaign_id: str | None = None
    version: int = 1
    wanted_version: int = 1
    synced_version: int = 0
    status_reported_at: datetime | None = None
    synced_at: datetime | None = None
    deleted_at: datetime | None = None

    def shown(self) -> Campaign:
        """Give the campaign as the API shows it."""
        return Campaign(
            id=self.id,
            name=self.name,
            platform=self.platform,
            status=self.status,
            budget=units_of(self.budget_micros),
            currency=self.currency,
            targeting=self.targeting,
            platform_campaign_id=self.platform_campaign_id,
            version=self.version,
            owner_id=self.owner_id,
            created_at=self.created_at,
            updated_at=self.updated_at,
            synced_at=self.synced_at,
        )

    def wish(self) -> SavedCampaign:
        """Give what the owner wants the platform to hold."""
        return SavedCampaign(
            campaign_id=self.id,
            version=self.wanted_version,
            platform=self.platform,
            name=self.name,
            budget_micros=self.budget_micros,
            currency=self.currency,
            targeting=self.targeting,
            status=self.wanted_status,
            platform_campaign_id=self.platform_campaign_id,
        )


_FIELDS = tuple(field.name for field in dataclasses.fields(StoredCampaign))
_ALL = select(*(campaigns.c[name] for name in _FIELDS))


async def find_campaign(tx: AsyncConnection, campaign_id: UUID) -> Campaign | None:
    """Read a campaign; None when there is none or it was deleted."""
    query = _ALL.where(campaigns.c.id == campaign_id, campaigns.c.deleted_at.is_(None))
    row = (await tx.execute(query)).one_or_none()
    return _stored(row).shown() if row else None


async def list_campaigns(
    tx: AsyncConnection,
    *,
    owner: UUID | None,
    platform: Platform | None = None,
    status: CampaignStatus | None = None,
    page: int,
    per_page: int,
) -> tuple[list[Campaign], int]:
    """Read a page (counted from 1) of the campaigns of ``owner``, or of all without one.

    The newest come first. Also tells how many there are on all pages.
    """
    wanted = {"owner_id": owner, "platform": platform, "status": status}
    conditions = [
        campaigns.c.deleted_at.is_(None),
        *(campaigns.c[name] == value for name, value in wanted.items() if value is not None),
    ]
    total = await tx.execute(select(func.count()).select_from(campaigns).where(*conditions))
    query = (
        _ALL.where(*conditions)
        .order_by(campaigns.c.created_at.desc(), campaigns.c.id.desc())
        .limit(per_page)
        .offset((page - 1) * per_page)
    )
    rows = await tx.execute(query)
    return [_stored(row).shown() for row in rows], total.scalar_one()


async def lock_campaigns(
    tx: AsyncConnection,
    ids: Collection[UUID],
    platform_ids: Collection[tuple[Platform, str]] = (),
) -> dict[UUID, StoredCampaign]:
    """Read and lock the campaigns of these ids and platform ids, tombstones too."""
    query = _locking(sorted(ids), sorted(platform_ids))
    return {row.id: _stored(row) for row in await tx.execute(query)}


async def insert_campaigns(tx: AsyncConnection, rows: Sequence[StoredCampaign]) -> set[UUID]:
    """Write new campaigns; tells the ids that were new (a concurrent one may come first)."""
    if not rows:
        return set()
    return {row.id for row in await tx.execute(INSERT, {"rows": _records(rows)})}


async def update_campaigns(tx: AsyncConnection, rows: Sequence[StoredCampaign]) -> None:
    """Write campaigns that this transaction has locked."""
    if rows:
        await tx.execute(UPDATE, {"rows": _records(rows)})


def _locking(ids: list[UUID], pairs: list[tuple[Platform, str]]) -> Select[Any]:
    query = _ALL.order_by(campaigns.c.id).with_for_update(of=campaigns)
    by_id = campaigns.c.id == any_(literal(ids, ARRAY(Uuid)))
    if not pairs:
        return query.where(by_id)
    reported = func.unnest(
        literal([platform for platform, _ in pairs], ARRAY(Text)),
        literal([name for _, name in pairs], ARRAY(Text)),
    ).table_valued(column("platform", Text), column("name", Text), name="reported")
    found = select(campaigns.c.id).where(
        campaigns.c.platform == reported.c.platform,
        campaigns.c.platform_campaign_id == reported.c.name,
    )
    named = select(func.unnest(literal(ids, ARRAY(Uuid))))
    return query.where(campaigns.c.id.in_(found.union(named)))


def _stored(row: Row[Any]) -> StoredCampaign:
    fields = row._asdict()
    return StoredCampaign(**{**fields, "targeting": Targeting.model_validate(row.targeting)})


def _records(rows: Sequence[StoredCampaign]) -> str:
    ordered = sorted(rows, key=lambda row: row.id)
    return to_json([{name: getattr(row, name) for name in _FIELDS} for row in ordered]).decode()
