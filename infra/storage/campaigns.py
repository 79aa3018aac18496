"""Campaigns in Postgres, and how they are read.

A deleted campaign stays as a tombstone, invisible to readers, so that whatever comes late
finds out. Changes are made in ``infra.storage.campaign_changes``.
"""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.campaigns import DesiredStatus, SavedCampaign
from infra.storage.tables import campaigns
from schemas.campaigns import Campaign, CampaignStatus, Targeting
from schemas.types import Frozen, Platform, units_of

FIND_REFS = text("""
    select id, platform, platform_campaign_id from campaigns
    where id = any(cast(:ids as uuid[]))
    union all
    select c.id, c.platform, c.platform_campaign_id
    from unnest(cast(:platforms as text[]), cast(:names as text[])) as r (platform, name)
    join campaigns c on c.platform = r.platform and c.platform_campaign_id = r.name
""")


class LastCommand(Frozen):
    """The newest command about a campaign that was granted, and the version it led to.

    ``time`` is its sender's, None where it told none; ``at`` is when it was granted (UTC).
    """

    id: str
    source: str
    type: str
    time: datetime | None
    at: datetime
    version: int


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """A row of ``campaigns``: what the API shows, what its owner wants, what is synced.

    ``version`` counts every change that the API shows, ``desired_version`` is the version
    that last changed the owner's wish, ``synced_version`` the wish that the platform holds.
    ``leased_until`` is None as long as nobody has begun to push it.
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

    def desired_state(self) -> SavedCampaign:
        """Give what the owner wants the platform to hold."""
        return SavedCampaign(
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


class CampaignRef(NamedTuple):
    """What a campaign is called here and at its platform."""

    id: UUID
    platform: Platform
    platform_campaign_id: str | None


FIELDS = tuple(field.name for field in dataclasses.fields(CampaignRow))
SELECT_CAMPAIGN = select(*(campaigns.c[name] for name in FIELDS))


async def find_campaign(tx: AsyncConnection, campaign_id: UUID) -> Campaign | None:
    """Read a campaign; None when there is none or it was deleted."""
    query = SELECT_CAMPAIGN.where(campaigns.c.id == campaign_id, campaigns.c.deleted_at.is_(None))
    row = (await tx.execute(query)).one_or_none()
    return to_row(row).to_api() if row else None


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
        SELECT_CAMPAIGN.where(*conditions)
        .order_by(campaigns.c.created_at.desc(), campaigns.c.id.desc())
        .limit(per_page)
        .offset((page - 1) * per_page)
    )
    rows = await tx.execute(query)
    return [to_row(row).to_api() for row in rows], total.scalar_one()


async def find_campaign_refs(
    tx: AsyncConnection,
    ids: Collection[UUID],
    platform_ids: Collection[tuple[Platform, str]],
) -> list[CampaignRef]:
    """Find campaigns by our ids and by the platforms', tombstones too; the rest is left out."""
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


def to_row(row: Row[Any]) -> CampaignRow:
    """Read a row that was selected with ``SELECT_CAMPAIGN``."""
    fields = row._asdict()
    fields["targeting"] = Targeting.model_validate(row.targeting)
    if row.last_command is not None:
        fields["last_command"] = LastCommand.model_validate(row.last_command)
    return CampaignRow(**fields)


async def read_last_command(tx: AsyncConnection, campaign_id: UUID) -> LastCommand | None:
    """Read the newest command about a campaign, a deleted one too; None where none is known."""
    query = select(campaigns.c.last_command).where(campaigns.c.id == campaign_id)
    found = (await tx.execute(query)).scalar_one_or_none()
    return None if found is None else LastCommand.model_validate(found)
