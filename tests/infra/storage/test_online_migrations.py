"""An upgrade beside a busy release: it waits for no lock for long, and can be repeated."""

import ast
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.commands import database_migration
from infra.commands.database_migration import MigrationGivenUp, migrate_database
from infra.settings import Settings
from infra.storage import migrations
from infra.storage.migrations import SCRIPTS, build_config, online, upgrade
from tests.infra.storage.test_migrations import _differences

WRITE = text("insert into inbox (consumer, key, digest) values ('q', :key, :key)")
LETTER = text("""
    insert into dead_letters (id, queue, routing_key, body, properties, reason, error_class, stage,
        worker, attempts, first_failed_at, last_failed_at, fingerprint)
    values (gen_random_uuid(), 'q', '', '', '{}', '', '', '', '', 1, now(), now(), '')
""")
INVALID = text("select indexrelid::regclass::text from pg_index where not indisvalid")
SHORT_MS = 200
# What takes something from those who still read it.
CONTRACTIONS = ("drop_table", "drop_column", "drop_constraint", "alter_column", "rename_table")
FIRST = "0001_tables.py"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for locks no longer than a test should."""
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT_MS", SHORT_MS)
    monkeypatch.setattr(online, "PATIENT_TIMEOUT_MS", SHORT_MS)


@asynccontextmanager
async def at_revision(engine: AsyncEngine, revision: str) -> AsyncIterator[None]:
    """Begin with the schema of a revision; it is the newest again in the end."""
    async with engine.begin() as tx:
        await tx.execute(text("drop schema public cascade"))
        await tx.execute(text("create schema public"))
    async with engine.connect() as connection:
        await connection.run_sync(lambda sync: command.upgrade(build_config(sync), revision))
        await connection.commit()
    yield
    async with engine.connect() as connection:
        await upgrade(connection)
        assert await connection.run_sync(_differences) == []
        assert (await connection.execute(INVALID)).all() == []


async def write_mark(tx: AsyncConnection, number: int) -> None:
    await tx.execute(WRITE, {"key": f"00000000-0000-4000-8000-{number:012}"})


async def test_an_upgrade_gives_up_where_a_transaction_holds_a_lock_and_can_be_repeated(
    engine: AsyncEngine, settings: Settings
) -> None:
    url = settings.database_url.get_secret_value()
    async with at_revision(engine, "0002"), engine.connect() as busy:
        await busy.execute(LETTER)
        with pytest.raises(MigrationGivenUp, match="Run it again"):
            await migrate_database(url)
        async with engine.begin() as other:  # nobody waits behind it any longer
            await other.execute(text("set local lock_timeout = 1000"))
            await other.execute(LETTER)
        await busy.commit()
        await migrate_database(url)
        async with engine.connect() as tx:
            counted = await tx.execute(text("select sum(letters) from dead_letter_counts"))
            assert counted.scalar_one() == 2


async def test_an_index_that_is_created_keeps_nobody_from_writing_and_is_created_again(
    engine: AsyncEngine, settings: Settings
) -> None:
    url = settings.database_url.get_secret_value()
    async with at_revision(engine, "0004"), engine.connect() as busy:
        await write_mark(busy, 1)
        with pytest.raises(MigrationGivenUp):
            await migrate_database(url)
        async with engine.begin() as other:
            assert (await other.execute(INVALID)).all() == [("inbox_expiry_idx",)]
            await write_mark(other, 2)
        await busy.commit()


async def test_an_upgrade_that_may_not_create_an_extension_says_who_has_to_allow_it(
    engine: AsyncEngine, settings: Settings
) -> None:
    url, name = settings.database_url.get_secret_value(), engine.url.database
    async with at_revision(engine, "0007"):
        async with engine.begin() as tx:
            await tx.execute(text(f"revoke create on database {name} from public, adrelay"))
        with pytest.raises(MigrationGivenUp, match=r"pg_trgm.*grant create on database"):
            await migrate_database(url)
        async with engine.begin() as tx:
            await tx.execute(text(f"grant create on database {name} to adrelay"))
        await migrate_database(url)


async def test_an_extension_that_is_not_installed_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def upgrade(connection: AsyncConnection) -> None:
        await connection.execute(text("create extension no_such_extension"))

    monkeypatch.setattr(database_migration, "upgrade", upgrade)
    with pytest.raises(MigrationGivenUp, match=r"no_such_extension.*contrib modules"):
        await migrate_database(settings.database_url.get_secret_value())


async def test_an_upgrade_waits_for_its_turn_and_says_who_keeps_it(
    engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations.upgrade, "__kwdefaults__", {"turn_timeout": 0.2})
    async with engine.connect() as other:
        await other.execute(migrations.LOCK, {"key": migrations.LOCK_KEY})
        with pytest.raises(MigrationGivenUp, match="another upgrade"):
            await migrate_database(settings.database_url.get_secret_value())
        await other.execute(migrations.UNLOCK, {"key": migrations.LOCK_KEY})


def _scripts() -> list[Path]:
    return [file for file in sorted((SCRIPTS / "versions").glob("*.py")) if file.name != FIRST]


@pytest.mark.parametrize("script", _scripts(), ids=lambda script: script.name)
def test_a_script_only_adds_to_what_the_release_before_reads(script: Path) -> None:
    names = {
        node.attr
        for function in ast.parse(script.read_text()).body
        if isinstance(function, ast.FunctionDef) and function.name != "downgrade"
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
    }
    assert names.isdisjoint(CONTRACTIONS), "a release later: see CONTRIBUTING.md, Upgrades"
