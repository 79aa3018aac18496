"""Campaigns in a batch that changes them: locked, then written in one statement.

The rows are locked first, in the order of their ids, so that two batches wait for each
other instead of dead-locking. What is decided about them in between is the handlers' own.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import ARRAY, Uuid, any_, literal, text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.campaigns import FIELDS, SELECT_CAMPAIGN, CampaignRow, to_row
from infra.storage.tables import campaigns

COLUMNS = """
    id, owner_id, platform, name, status, desired_status, budget_micros, currency, targeting,
    platform_campaign_id, version, desired_version, synced_version, status_reported_at,
    synced_at, deleted_at, created_at, updated_at, last_command
"""
RECORDS = """
    select * from jsonb_to_recordset(cast(:rows as jsonb)) as r (
        id uuid, owner_id uuid, platform text, name text, status text, desired_status text,
        budget_micros bigint, currency text, targeting jsonb, platform_campaign_id text,
        version integer, desired_version integer, synced_version integer,
        status_reported_at timestamptz, synced_at timestamptz, deleted_at timestamptz,
        created_at timestamptz, updated_at timestamptz, last_command jsonb
    )
"""
INSERT = text(
    f"insert into campaigns ({COLUMNS}) {RECORDS} order by id"
    " on conflict (id) do nothing returning id"
)
UPDATE = text(f"""
    update campaigns as c set
        name = r.name, status = r.status, desired_status = r.desired_status,
        budget_micros = r.budget_micros, currency = r.currency, targeting = r.targeting,
        platform_campaign_id = r.platform_campaign_id, version = r.version,
        desired_version = r.desired_version, synced_version = r.synced_version,
        status_reported_at = r.status_reported_at, synced_at = r.synced_at,
        deleted_at = r.deleted_at, created_at = r.created_at, updated_at = r.updated_at,
        last_command = r.last_command
    from ({RECORDS}) as r where c.id = r.id
""")  # noqa: S608 - constants


async def lock_campaigns(tx: AsyncConnection, ids: Collection[UUID]) -> dict[UUID, CampaignRow]:
    """Read and lock the campaigns of these ids, tombstones too."""
    wanted = campaigns.c.id == any_(literal(sorted(ids), ARRAY(Uuid)))
    query = SELECT_CAMPAIGN.where(wanted).order_by(campaigns.c.id).with_for_update()
    return {row.id: to_row(row) for row in (await tx.execute(query)).all()}


async def insert_campaigns(tx: AsyncConnection, rows: Sequence[CampaignRow]) -> set[UUID]:
    """Write new campaigns; tells the ids that were new (a concurrent one may come first)."""
    if not rows:
        return set()
    return {row.id for row in await tx.execute(INSERT, {"rows": _records(rows)})}


async def update_campaigns(tx: AsyncConnection, rows: Sequence[CampaignRow]) -> None:
    """Write campaigns that this transaction has locked."""
    if rows:
        await tx.execute(UPDATE, {"rows": _records(rows)})


def _records(rows: Sequence[CampaignRow]) -> str:
    ordered = sorted(rows, key=lambda row: row.id)
    return to_json([{name: getattr(row, name) for name in FIELDS} for row in ordered]).decode()
