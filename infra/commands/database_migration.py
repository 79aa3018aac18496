"""The release step's part for the database: every script that it has not seen."""

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from infra.storage.database_address import DatabaseAddress
from infra.storage.migrations import UpgradeUnderWay, upgrade
from infra.tls import NO_TLS_FILES, TlsFiles

CONNECT_TIMEOUT = 5.0  # seconds
LOCKED = (
    "an older transaction holds a lock that the upgrade needs, and everybody else would wait"
    " behind it, so it has given up; what it has done so far stays. Run it again; if that does not"
    " help, end the transaction (select pid, xact_start, query from pg_stat_activity order by"
    " xact_start finds it)"
)
FORBIDDEN = (
    "the user of DATABASE_URL may not do what the upgrade needs ({reason}). It must own the tables"
    ' and may create objects in the database: let an administrator run "grant create on database'
    ' NAME to USER", or "create extension pg_trgm" there, and run this again; what it has done'
    " so far stays"
)
WITHOUT_EXTENSION = (
    "Postgres lacks a part of its own distribution ({reason}): install its contrib modules, and"
    " run this again; what it has done so far stays"
)
UNDER_WAY = "another upgrade is under way; run this again when it has ended"


class MigrationGivenUp(Exception):
    """The database is not upgraded now; the message says why, and that it can be repeated."""


async def migrate_database(url: str, tls: TlsFiles = NO_TLS_FILES) -> None:
    """Run every script that the database at ``url`` has not seen.

    Raises ``MigrationGivenUp`` when a lock is not to be had, or something that an administrator has
    to allow or to install first, and what SQLAlchemy and asyncpg raise.
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
        if (words := _describe(error)) is None:
            raise
        raise MigrationGivenUp(words) from error
    finally:
        await engine.dispose()


def _describe(error: DBAPIError) -> str | None:
    """Say what to do about an error of the database that somebody has to mend first."""
    reason = str(getattr(error.orig, "__cause__", None) or error.orig).partition("\n")[0]
    # SQLSTATEs (https://www.postgresql.org/docs/current/errcodes-appendix.html).
    match getattr(error.orig, "sqlstate", None):
        case "55P03":  # a lock was waited for too long
            return LOCKED
        case "42501":  # insufficient privilege
            return FORBIDDEN.format(reason=reason)
        case "0A000" | "58P01" if "extension" in reason:  # its files are not there
            return WITHOUT_EXTENSION.format(reason=reason)
    return None
