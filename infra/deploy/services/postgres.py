"""A private Postgres: own role and database with a password (SCRAM), no trust, no Unix socket.

Where data need not last (the tests), it does not wait for the disk.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from infra.deploy.services.daemon import Daemon, NotStarted, minimal_environment
from infra.deploy.services.directories import (
    ServerDirectory,
    SystemUser,
    find_system_user,
    write_private,
)
from infra.deploy.services.ports import Ports
from infra.deploy.services.threads import run_in_thread

NAME = "postgres"
PACKAGES = ("postgresql",)
OWNER = "postgres"
ROLE = "adrelay"
TIMEOUT = 30.0  # seconds
DISPOSABLE = ("fsync", "synchronous_commit", "full_page_writes")


def binaries() -> Path | None:
    """Find the folder of the newest installed server's programs."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    found = [folder for folder in debian if (folder / "postgres").exists()]
    if found:
        return found[-1]
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


def is_installed() -> bool:
    """Check whether this machine has the server."""
    return binaries() is not None


def url(directory: ServerDirectory, ports: Ports, database: str = ROLE) -> str:
    """Build ``DATABASE_URL`` of the role that Adrelay uses."""
    password = directory.passwords()["DATABASE_PASSWORD"]
    return f"postgresql://{ROLE}:{password}@127.0.0.1:{ports.postgres}/{database}"


def _program(name: str) -> str:
    folder = binaries()
    if folder is None:
        raise NotStarted("Postgres is not installed")
    return str(folder / name)


def start(directory: ServerDirectory, ports: Ports) -> Daemon:
    """Make the data directory if there is none, and start the server in the background."""
    daemon, system_user = Daemon(directory, NAME), find_system_user(NAME)
    if daemon.pid() is None:
        folder = directory.folder(NAME, system_user)
        data = folder / "data"
        if not (data / "PG_VERSION").exists():
            _initialise(directory, system_user, folder, data)
        settings = {
            "port": str(ports.postgres),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            **({} if directory.durable else dict.fromkeys(DISPOSABLE, "off")),
        }
        options = [word for item in settings.items() for word in ("-c", "=".join(item))]
        daemon.start([_program("postgres"), "-D", str(data), *options], system_user, folder)
    return daemon


def _initialise(
    directory: ServerDirectory, system_user: SystemUser, folder: Path, data: Path
) -> None:
    """Make the data directory: under another name until it is whole."""
    draft = data.with_name("data.new")
    for left in (draft, data):  # of a start that was killed
        shutil.rmtree(left, ignore_errors=True)
    secret = folder / "password"
    write_private(secret, directory.passwords()["POSTGRES_PASSWORD"], system_user)
    words = ["-D", str(draft), "-U", OWNER, "--auth=scram-sha-256", f"--pwfile={secret}"]
    words += ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
    done = subprocess.run(
        [_program("initdb"), *words],
        cwd=folder,
        env=minimal_environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        umask=0o077,
        **system_user.popen,
    )
    secret.unlink()
    if done.returncode:
        shutil.rmtree(draft, ignore_errors=True)
        raise NotStarted(f"initdb failed: {done.stderr.strip()}")
    draft.rename(data)
    if directory.durable:
        os.sync()


def is_ready(directory: ServerDirectory, ports: Ports) -> bool:
    """Check whether its owner can log in."""
    try:
        execute(directory, ports, "select 1")
    except (OSError, TimeoutError, DBAPIError):
        return False
    return True


def provision(directory: ServerDirectory, ports: Ports) -> None:
    """Make the role and the database if they are missing, and set the password."""
    password = directory.passwords()["DATABASE_PASSWORD"]
    if not execute(directory, ports, "select 1 from pg_roles where rolname = 'adrelay'"):
        execute(directory, ports, "create role adrelay login")
    # Hexadecimal digits, as ServerDirectory makes them.
    execute(directory, ports, f"alter role adrelay password '{password}'")
    if not execute(directory, ports, "select 1 from pg_database where datname = 'adrelay'"):
        execute(directory, ports, "create database adrelay owner adrelay")


def execute(directory: ServerDirectory, ports: Ports, statement: str) -> Sequence[Any]:
    """Run one statement as the server's owner, outside a transaction; returns its rows.

    Raises what SQLAlchemy raises, ``OSError`` or ``TimeoutError``.
    """
    password = directory.passwords()["POSTGRES_PASSWORD"]
    url = f"postgresql+asyncpg://{OWNER}:{password}@127.0.0.1:{ports.postgres}/postgres"

    async def run() -> Sequence[Any]:
        engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        try:
            async with asyncio.timeout(TIMEOUT), engine.connect() as connection:
                result = await connection.execute(text(statement))
                return result.all() if result.returns_rows else ()
        finally:
            await engine.dispose()

    return run_in_thread(run)
