"""Checks of Postgres: connection, version, migrations, what it loses or refuses, free sessions."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from infra.commands.doctor.broker_checks import judge_clock
from infra.commands.doctor.examination import Examination
from infra.commands.doctor.finding import Finding, Level, ok
from infra.commands.doctor.versions import POSTGRES, judge_version
from infra.storage.engine import describe_error
from infra.storage.migrations import build_config

READ = text("""
    select current_setting('server_version') as version, clock_timestamp() as clock,
        pg_is_in_recovery() as is_standby,
        current_setting('default_transaction_read_only') = 'on' as is_read_only,
        current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes,
        current_setting('synchronous_commit') as synchronous_commit,
        current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int as allowed,
        (select count(*) from pg_stat_activity where backend_type = 'client backend') as used,
        (select max(extract(epoch from now() - xact_start)) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()
                and backend_type = 'client backend') as oldest_transaction
""")
STANDBYS = text("""
    select coalesce(application_name, '') as name, state, sync_state,
        extract(epoch from replay_lag) as seconds
    from pg_stat_replication where state is not null
""")
WORK = text("""
    select (select count(*) from outbox where parked_reason is not null) as parked,
        (select extract(epoch from now() - min(created_at)) from outbox
            where parked_reason is null) as oldest,
        (select count(*) from dead_letters where state = 'open'
            and first_failed_at < now() - make_interval(days => :days)) as late
""")
DURABLE = {"fsync": "on", "full_page_writes": "on"}
MAX_LAG, MAX_OUTBOX_AGE = 10.0, 60.0  # seconds
MAX_TRANSACTION = timedelta(minutes=10)


async def check_database(examination: Examination) -> list[Finding]:
    """Connect, and judge version, clock, durability, read-only state, sessions and standbys."""
    try:
        async with examination.engine.connect() as tx:
            asked = now()
            row = dict((await tx.execute(READ)).mappings().one())
            answered = now()
            standbys = [dict(line) for line in (await tx.execute(STANDBYS)).mappings()]
    except OSError as error:
        why = "nothing takes effect without Postgres; the broker keeps what the ingress accepts"
        found, action = describe_error(error), "start it, or correct DATABASE_URL"
        return [Finding(Level.ERROR, "postgres", found, why, action)]
    return [
        ok("postgres", "it accepts connections"),
        *judge_version(POSTGRES, row["version"]),
        judge_clock("Postgres", row["clock"], asked, answered),
        *_judge_writes(row),
        *_judge_sessions(row, examination.settings.database_pool),
        *_judge_standbys(standbys),
    ]


def _judge_writes(row: Mapping[str, Any]) -> Iterator[Finding]:
    if row["is_standby"] or row["is_read_only"]:
        what = "it is a standby" if row["is_standby"] else "default_transaction_read_only is on"
        why = "workers pause, and what is accepted waits in the broker"
        action = "connect to the primary, or make it accept writes again"
        yield Finding(Level.ERROR, "postgres", f"it takes no writes: {what}", why, action)
    unsafe = [name for name, value in DURABLE.items() if row[name] != value]
    for name in unsafe:
        why = "a crash of the machine may lose or damage everything that was accepted"
        yield Finding(Level.ERROR, "postgres", f"{name} is {row[name]}", why, f"set {name} to on")
    if row["synchronous_commit"] == "off":
        why = "a crash of the server loses what was committed last, effects and inbox alike"
        action = "set synchronous_commit to on"
        yield Finding(Level.ERROR, "postgres", "synchronous_commit is off", why, action)
    elif not (unsafe or row["is_standby"] or row["is_read_only"]):
        yield ok("postgres", "it takes writes, and keeps what it has committed")


def _judge_sessions(row: Mapping[str, Any], pool: int) -> Iterator[Finding]:
    free = row["allowed"] - row["used"]
    if free < pool:
        found = f"{free} of {row['allowed']} connections are free, less than DATABASE_POOL ({pool})"
        why = "a process more, or one that restarts, gets no connection"
        action = "raise max_connections, or lower DATABASE_POOL"
        yield Finding(Level.WARNING, "postgres", found, why, action)
    else:
        yield ok("postgres", f"{free} of {row['allowed']} connections are free")
    oldest = float(row["oldest_transaction"] or 0)
    if oldest > MAX_TRANSACTION.total_seconds():
        found = f"a transaction has been open for {oldest / 60:.0f} minutes"
        why = "deleted rows keep their space meanwhile, and tables grow"
        action = "find it in pg_stat_activity, and end it (pg_terminate_backend)"
        yield Finding(Level.WARNING, "postgres", found, why, action)


def _judge_standbys(standbys: list[dict[str, Any]]) -> Iterator[Finding]:
    for standby in standbys:
        seconds, name = float(standby["seconds"] or 0), standby["name"] or "a standby"
        if seconds > MAX_LAG:
            found = f"standby {name} is {seconds:.0f} s behind ({standby['sync_state']})"
            why = "a failover to it loses these seconds"
            action = "see what holds it up; adrelay restore --from-log brings them back"
            yield Finding(Level.WARNING, "postgres", found, why, action)
        else:
            yield ok("postgres", f"standby {name} follows ({standby['sync_state']})")


async def check_migrations(examination: Examination) -> list[Finding]:
    """Compare the revision of the database with the newest migration."""
    async with examination.engine.connect() as tx:
        current, newest = await tx.run_sync(_read_revisions)
    if current == newest:
        return [ok("migrations", f"the database is at the newest revision, {newest}")]
    why = "workers read and write tables that are not there, or have changed"
    action = "adrelay migrate (with the code that is to run)"
    found = f"the database is at revision {current or 'none'}, the code at {newest}"
    return [Finding(Level.ERROR, "migrations", found, why, action)]


def _read_revisions(connection: Connection) -> tuple[str | None, str | None]:
    scripts = ScriptDirectory.from_config(build_config(connection))
    current = MigrationContext.configure(connection).get_current_revision()
    return current, scripts.get_current_head()


async def check_work(examination: Examination) -> list[Finding]:
    """Check what waits for the relay or for a person."""
    days = examination.settings.inbox_days
    async with examination.engine.connect() as tx:
        row = await _read_work(tx, days)
    findings = list(_judge_work(row, days))
    return findings or [ok("outbox", "nothing is parked, and nothing waits for long")]


async def _read_work(tx: AsyncConnection, days: int) -> Mapping[str, Any]:
    return dict((await tx.execute(WORK, {"days": days})).mappings().one())


def _judge_work(row: Mapping[str, Any], days: int) -> Iterator[Finding]:
    if row["parked"]:
        why = "the broker refuses them for good: they have no effect"
        action = "docs/operator.md, AdrelayOutboxParked"
        found = f"{row['parked']} rows of the outbox are parked"
        yield Finding(Level.WARNING, "outbox", found, why, action)
    if float(row["oldest"] or 0) > MAX_OUTBOX_AGE:
        found = f"a row of the outbox waits for {float(row['oldest']):.0f} s"
        why = "what was decided does not reach the broker"
        action = "does the relay run, and is it ready? docs/operator.md, AdrelayOutboxStuck"
        yield Finding(Level.ERROR, "outbox", found, why, action)
    if row["late"]:
        found = f"{row['late']} open dead letters are older than the inbox ({days} days)"
        why = "their replay might take effect twice, and needs --force"
        action = "discard them, or replay them one by one: adrelay dead-letters list"
        yield Finding(Level.NOTE, "dead letters", found, why, action)
