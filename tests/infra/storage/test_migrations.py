"""The scripts create the tables of ``infra.storage.tables``; a second run changes nothing."""

import asyncio
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.storage.migrations import build_config, upgrade
from infra.storage.tables import metadata

COLUMNS = text("""
    select table_name, column_name, udt_name, is_nullable, column_default, identity_generation
    from information_schema.columns
    where table_schema = current_schema() and table_name <> 'alembic_version'
    order by table_name, column_name
""")
CONSTRAINTS = text("""
    select conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    from pg_constraint
    where connamespace = current_schema()::regnamespace
        and conrelid <> 0 and conrelid::regclass::text <> 'alembic_version'
    order by 1, 2
""")
INDEXES = text("""
    select tablename, indexname, replace(indexdef, ' ' || schemaname || '.', ' ')
    from pg_indexes
    where schemaname = current_schema() and tablename <> 'alembic_version'
    order by 1, 2
""")


def _differences(connection: Connection) -> list[Any]:
    options = {"compare_type": True, "compare_server_default": True}
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, metadata))


def _catalogue(connection: Connection) -> list[list[tuple[Any, ...]]]:
    return [
        [tuple(row) for row in connection.execute(query)]
        for query in (COLUMNS, CONSTRAINTS, INDEXES)
    ]


def _catalogue_of_tables(connection: Connection) -> list[list[tuple[Any, ...]]]:
    connection.execute(text("create schema by_tables"))
    connection.execute(text("set local search_path to by_tables"))
    connection.execute(text("drop extension pg_trgm cascade"))  # rolled back in the end
    connection.execute(text("create extension pg_trgm"))
    metadata.create_all(connection)
    return _catalogue(connection)


async def test_the_scripts_leave_alembic_nothing_to_add(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []


async def test_the_scripts_create_the_same_catalogue_as_the_tables(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        migrated = await connection.run_sync(_catalogue)
        expected = await connection.run_sync(_catalogue_of_tables)
    assert len(migrated[0]) > 50
    assert migrated == expected


async def test_a_second_upgrade_changes_nothing(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        before = await connection.run_sync(_catalogue)
        await connection.rollback()
        await upgrade(connection)
        assert await connection.run_sync(_catalogue) == before


async def test_two_upgrades_of_an_empty_database_take_turns(engine: AsyncEngine) -> None:
    async def migrate() -> list[Any]:
        async with engine.connect() as connection:
            await upgrade(connection)
            return await connection.run_sync(_differences)

    async with engine.begin() as tx:
        await tx.execute(text("drop schema public cascade"))
        await tx.execute(text("create schema public"))
    assert list(await asyncio.gather(migrate(), migrate())) == [[], []]


async def test_a_downgrade_drops_every_table_and_an_upgrade_creates_them_again(
    engine: AsyncEngine,
) -> None:
    async with engine.begin() as tx:
        await tx.run_sync(lambda sync: command.downgrade(build_config(sync), "base"))
        assert (await tx.execute(text("select to_regclass('users')"))).scalar_one() is None
    async with engine.connect() as connection:
        await upgrade(connection)
        assert await connection.run_sync(_differences) == []
