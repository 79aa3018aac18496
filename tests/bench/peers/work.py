"""The work of every peer in Python: validate an event, mark and upsert it in one transaction."""

import datetime as dt
import os
import threading
from typing import Any, Literal
from uuid import UUID

import asyncpg
import psycopg
from pydantic import AwareDatetime, BaseModel, Field

BROKER = os.environ.get("RABBITMQ_URL", "")
DATABASE = os.environ.get("DATABASE_URL", "")
QUEUE = os.environ.get("BENCH_QUEUE", "bench")
POOL = 10  # database connections, as an Adrelay worker may have

MARK = "insert into bench_inbox (event_id) values ({}) on conflict do nothing returning 1"
UPSERT = """
    insert into bench_metrics as m values ({}, {}, {}, {}, {}, {}, {}, {})
    on conflict (campaign_id, date) do update set
        impressions = excluded.impressions, clicks = excluded.clicks,
        conversions = excluded.conversions, spend = excluded.spend, at = excluded.at
    where m.at <= excluded.at
"""
# asyncpg numbers its parameters, psycopg does not.
MARK_ASYNC, UPSERT_ASYNC = MARK.format("$1"), UPSERT.format(*(f"${n}" for n in range(1, 9)))
MARK_SYNC, UPSERT_SYNC = MARK.format("%s"), UPSERT.format(*["%s"] * 8)


class Figures(BaseModel):
    """What a report says."""

    campaign_id: UUID
    platform: Literal["claude", "chatgpt", "gemini"]
    date: dt.date
    impressions: int = Field(ge=0)
    clicks: int = Field(ge=0)
    conversions: int = Field(ge=0)
    spend: float = Field(ge=0)


class Report(BaseModel):
    """The event."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    time: AwareDatetime
    subject: str | None = None
    data: Figures

    def row(self) -> tuple[Any, ...]:
        """Give the row that is upserted."""
        data = self.data
        counters = (data.impressions, data.clicks, data.conversions, data.spend)
        return (data.campaign_id, data.platform, data.date, *counters, self.time)


async def open_pool() -> "asyncpg.Pool[asyncpg.Record]":
    """Open the database."""
    return await asyncpg.create_pool(DATABASE, min_size=POOL, max_size=POOL)


async def record(pool: "asyncpg.Pool[asyncpg.Record]", report: Report) -> None:
    """Do the work in a transaction of its own."""
    async with pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(MARK_ASYNC, report.id):
            await connection.execute(UPSERT_ASYNC, *report.row())


_own = threading.local()


def record_blocking(body: str) -> None:
    """Do the work in a thread, which has a connection of its own."""
    report = Report.model_validate_json(body)
    connection = getattr(_own, "connection", None)
    if connection is None:
        connection = _own.connection = psycopg.connect(DATABASE)
    with connection.transaction():
        if connection.execute(MARK_SYNC, (report.id,)).fetchone():
            connection.execute(UPSERT_SYNC, report.row())
