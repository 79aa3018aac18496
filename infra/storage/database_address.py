"""Where Postgres is and how TLS is spoken to it: ``DATABASE_URL`` with the files of its settings.

With a file, or ``sslmode=verify-full``, TLS is required and the server's chain and name are
verified. Other modes of the URL are libpq's (PostgreSQL manual, "SSL Mode Descriptions"), which
asyncpg knows: without any, TLS is used where the server offers it, and nothing is verified.
"""

import ssl
from dataclasses import dataclass
from typing import Any, Self

import asyncpg
from sqlalchemy.engine import URL, make_url

from infra.settings import Settings
from infra.settings.rules import VERIFY_FULL
from infra.tls import NO_TLS_FILES, TlsFiles, UnusableTlsFiles, get_tls_context
from infra.tls_errors import describe_tls_error

MODES = ("sslmode", "ssl")  # as libpq and as asyncpg name it
CONNECT_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    UnusableTlsFiles,
)


class DatabaseUnreachable(ConnectionError):
    """No session could be opened, so no batch can be processed."""


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """A URL without options of TLS, its mode of TLS, and the files."""

    url: URL
    mode: str | None
    files: TlsFiles

    @classmethod
    def parse(cls, text: str, files: TlsFiles = NO_TLS_FILES) -> Self:
        """Parse ``DATABASE_URL``."""
        url = make_url(text).set(drivername="postgresql+asyncpg")
        modes = [str(url.query[name]) for name in MODES if name in url.query]
        return cls(url.difference_update_query(MODES), modes[0] if modes else None, files)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read the address that a process is configured with."""
        return cls.parse(settings.database_url.get_secret_value(), settings.tls("database"))

    async def connect(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - asyncpg's own
        """Open a session as ``asyncpg.connect`` does.

        Raises ``DatabaseUnreachable`` for whatever the server answers instead (a wrong password,
        an unknown database, too many sessions, a server that starts), and for a failure of TLS:
        SQLAlchemy passes the driver's errors on unchanged here, and callers treat all of them
        alike. Raises ``OSError`` without a connection.
        """
        try:
            return await self.open_session(*args, **options)
        except CONNECT_ERRORS as error:
            raise DatabaseUnreachable(_in_words(error)) from error
        except OSError as error:
            if (words := describe_tls_error(error)) is None:
                raise
            raise DatabaseUnreachable(words) from error

    async def open_session(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - asyncpg's own
        """Open a session as ``asyncpg.connect`` does, and raise what it raises."""
        tls = self._get_tls()
        return await asyncpg.connect(*args, **options, **({} if tls is None else {"ssl": tls}))

    def _get_tls(self) -> ssl.SSLContext | str | None:
        if self.files or self.mode == VERIFY_FULL:
            return get_tls_context(self.files)
        return self.mode


def _in_words(error: Exception) -> str:
    if isinstance(error, UnusableTlsFiles):
        return str(error)
    state = getattr(error, "sqlstate", None) or "none"
    return describe_tls_error(error) or f"{type(error).__name__} (SQLSTATE {state})"
