"""The release step's part for the database: every script that it has not seen."""

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from infra.storage.database_address import DatabaseAddress
from infra.storage.migrations import UpgradeUnderWay, upgrade
from infra.tls import NO_TLS_FILES, TlsFiles

CONNECT_TIMEOUT = 5.0  # seconds
LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE of a lock that was waited for too long
LOCKED = (
    "an older transaction holds a lock that the upgrade needs, and everybody else would wait"
    " behind it, so it has given up; what it has done so far stays. Run it again; if that does not"
    " help, end the transaction (select pid, xact_start, query from pg_stat_activity order by"
    " xact_start finds it)"
)
UNDER_WAY = "another upgrade is under way; run this again when it has ended"


class MigrationGivenUp(Exception):
    """The database is not upgraded now; the message says why, and that it can be repeated."""


async def migrate_database(url: str, tls: TlsFiles = NO_TLS_FILES) -> None:
    """Run every script that the database at ``url`` has not seen.

    Raises ``MigrationGivenUp`` when a lock is not to be had, and what SQLAlchemy and asyncpg raise.
    """
    address = DatabaseAddress.parse(url, tls)
    engine = create_async_engine(
        address.url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"timeout": CONNECT_TIMEOUT, "async_creator_fn": address.open_session},
    )
    try:
        async with engine.connect() as connection:
            await upgrade(connection)
    except UpgradeUnderWay as error:
        raise MigrationGivenUp(UNDER_WAY) from error
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE:
            raise MigrationGivenUp(LOCKED) from error
        raise
    finally:
        await engine.dispose()
