"""Queries for campaigns: reads for the API, locked reads and batch writes for the workers.

A deleted campaign stays as a tombstone, which readers do not see, so that a late message about it
finds its last state. A batch first locks its rows, in the order of their ids, so that two batches
wait for each other instead of deadlocking; the handlers then decide what changes.

``CampaignRow`` names the columns; the statements are built from it and from the types of the table.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import ARRAY, Row, Uuid, any_, func, literal, select, text
from sqlalchemy.dialects.postgresql import dialect
from sqlalchemy.ext.asyncio import AsyncConnection

from events.campaigns import CampaignSavedData, DesiredStatus
from infra.storage.tables import campaigns
from schemas.campaigns import Campaign, CampaignStatus, Targeting
from schemas.types import FrozenModel, Platform, from_micros


class LastCommand(FrozenModel):
    """The newest accepted command for a campaign and the version that it led to.

    ``time`` is the event time that its sender set, None where the sender set none; ``at`` is when
    the command was accepted (UTC).
    """

    id: str
    source: str
    type: str
    time: datetime | None
    at: datetime
    version: int


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """A row of ``campaigns``: the state that the API returns, the desired and the synced version.

    ``version`` counts every change that the API returns, ``desired_version`` is the version that
    last changed the desired state, ``synced_version`` the desired version that the platform holds.
    ``leased_until`` is None until a first push begins.
    """

    id: UUID
    owner_id: UUID | None
    platform: Platform
    name: str
    status: CampaignStatus
    desired_status: DesiredStatus
    budget_micros: int
    currency: str
    targeting: Targeting
    created_at: datetime
    updated_at: datetime
    platform_campaign_id: str | None = None
    version: int = 1
    desired_version: int = 1
    synced_version: int = 0
    status_reported_at: datetime | None = None
    synced_at: datetime | None = None
    deleted_at: datetime | None = None
    leased_until: datetime | None = None
    last_command: LastCommand | None = None

    def to_api(self) -> Campaign:
        """Convert to the campaign as the API returns it."""
        return Campaign(
            id=self.id,
            name=self.name,
            platform=self.platform,
            status=self.status,
            budget=from_micros(self.budget_micros),
            currency=self.currency,
            targeting=self.targeting,
            platform_campaign_id=self.platform_campaign_id,
            version=self.version,
            owner_id=self.owner_id,
            created_at=self.created_at,
            updated_at=self.updated_at,
            synced_at=self.synced_at,
        )

    def desired_state(self) -> CampaignSavedData:
        """Build the state that the platform is to hold."""
        return CampaignSavedData(
            campaign_id=self.id,
            version=self.desired_version,
            platform=self.platform,
            name=self.name,
            budget_micros=self.budget_micros,
            currency=self.currency,
            targeting=self.targeting,
            status=self.desired_status,
            platform_campaign_id=self.platform_campaign_id,
        )


CampaignsById = Mapping[UUID, CampaignRow]


class CampaignRef(NamedTuple):
    """The ids of a campaign: here and, once it was pushed, at its platform."""

    id: UUID
    platform: Platform
    platform_campaign_id: str | None


COLUMNS = tuple(field.name for field in fields(CampaignRow))
SELECT_CAMPAIGN = select(*(campaigns.c[name] for name in COLUMNS))

# Leases are written by infra.storage.campaign_leases alone; owner and platform never change.
INSERTED = tuple(name for name in COLUMNS if name != "leased_until")
UPDATED = tuple(name for name in INSERTED if name not in ("id", "owner_id", "platform"))
_POSTGRES = dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
_TYPES = ((name, campaigns.c[name].type.compile(_POSTGRES)) for name in INSERTED)
RECORDS = f"""
    select * from jsonb_to_recordset(cast(:rows as jsonb))
        as r ({", ".join(f"{name} {type_}" for name, type_ in _TYPES)})
"""  # noqa: S608 - column names of our own dataclass
INSERT = text(f"""
    insert into campaigns ({", ".join(INSERTED)}) {RECORDS} order by id
    on conflict (id) do nothing returning id
""")
UPDATE = text(f"""
    update campaigns as c set {", ".join(f"{name} = r.{name}" for name in UPDATED)}
    from ({RECORDS}) as r where c.id = r.id
""")  # noqa: S608 - column names of our own dataclass
FIND_REFS = text("""
    select id, platform, platform_campaign_id from campaigns
    where id = any(cast(:ids as uuid[]))
    union all
    select c.id, c.platform, c.platform_campaign_id
    from unnest(cast(:platforms as text[]), cast(:names as text[])) as r (platform, name)
    join campaigns c on c.platform = r.platform and c.platform_campaign_id = r.name
""")


async def find_campaign(tx: AsyncConnection, campaign_id: UUID) -> Campaign | None:
    """Read a campaign; None when it does not exist or was deleted."""
    query = SELECT_CAMPAIGN.where(campaigns.c.id == campaign_id, campaigns.c.deleted_at.is_(None))
    row = (await tx.execute(query)).one_or_none()
    return _to_row(row).to_api() if row else None


async def list_campaigns(
    tx: AsyncConnection,
    *,
    owner: UUID | None,
    platform: Platform | None = None,
    status: CampaignStatus | None = None,
    page: int,
    per_page: int,
) -> tuple[list[Campaign], int]:
    """Read a page (counted from 1) of campaigns, the newest first, and the number on all pages.

    ``owner`` None means the campaigns of all owners.
    """
    filters = {"owner_id": owner, "platform": platform, "status": status}
    conditions = [
        campaigns.c.deleted_at.is_(None),
        *(campaigns.c[name] == value for name, value in filters.items() if value is not None),
    ]
    total = await tx.execute(select(func.count()).select_from(campaigns).where(*conditions))
    query = (
        SELECT_CAMPAIGN.where(*conditions)
        .order_by(campaigns.c.created_at.desc(), campaigns.c.id.desc())
        .limit(per_page)
        .offset((page - 1) * per_page)
    )
    rows = await tx.execute(query)
    return [_to_row(row).to_api() for row in rows], total.scalar_one()


async def find_campaign_refs(
    tx: AsyncConnection,
    ids: Collection[UUID],
    platform_ids: Collection[tuple[Platform, str]],
) -> list[CampaignRef]:
    """Find campaigns, tombstones too, by our ids and by the platforms'; skips unknown ids."""
    pairs = list(platform_ids)
    result = await tx.execute(
        FIND_REFS,
        {
            "ids": list(ids),
            "platforms": [platform for platform, _ in pairs],
            "names": [name for _, name in pairs],
        },
    )
    return [CampaignRef(*row) for row in result.all()]


async def read_last_command(tx: AsyncConnection, campaign_id: UUID) -> LastCommand | None:
    """Read the newest accepted command for a campaign, a deleted one too; None without any."""
    query = select(campaigns.c.last_command).where(campaigns.c.id == campaign_id)
    found = (await tx.execute(query)).scalar_one_or_none()
    return None if found is None else LastCommand.model_validate(found)


async def find_rows(tx: AsyncConnection, ids: Collection[UUID]) -> list[CampaignRow]:
    """Read the campaigns with these ids, tombstones too, in the order of their ids."""
    matches = campaigns.c.id == any_(literal(sorted(ids), ARRAY(Uuid)))
    rows = await tx.execute(SELECT_CAMPAIGN.where(matches).order_by(campaigns.c.id))
    return [_to_row(row) for row in rows]


async def lock_campaigns(tx: AsyncConnection, ids: Collection[UUID]) -> dict[UUID, CampaignRow]:
    """Read and lock the campaigns with these ids, tombstones too."""
    matches = campaigns.c.id == any_(literal(sorted(ids), ARRAY(Uuid)))
    query = SELECT_CAMPAIGN.where(matches).order_by(campaigns.c.id).with_for_update()
    return {row.id: _to_row(row) for row in (await tx.execute(query)).all()}


async def insert_campaigns(tx: AsyncConnection, rows: Sequence[CampaignRow]) -> set[UUID]:
    """Insert campaigns and return the inserted ids; skips ids that exist by now."""
    if not rows:
        return set()
    return {row.id for row in await tx.execute(INSERT, {"rows": _to_records(rows)})}


async def update_campaigns(tx: AsyncConnection, rows: Sequence[CampaignRow]) -> None:
    """Update campaigns that this transaction has locked."""
    if rows:
        await tx.execute(UPDATE, {"rows": _to_records(rows)})


def _to_row(row: Row[Any]) -> CampaignRow:
    """Convert a row of ``SELECT_CAMPAIGN``."""
    values = row._asdict()
    values["targeting"] = Targeting.model_validate(row.targeting)
    if row.last_command is not None:
        values["last_command"] = LastCommand.model_validate(row.last_command)
    return CampaignRow(**values)


def _to_records(rows: Sequence[CampaignRow]) -> str:
    ordered = sorted(rows, key=lambda row: row.id)
    return to_json([{name: getattr(row, name) for name in INSERTED} for row in ordered]).decode()
