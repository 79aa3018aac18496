"""Two Postgres servers, a primary and its streaming standby, for one failover.

A commit waits for the standby, so what was confirmed is on both. Nothing of them stays.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from infra.commands.database_migration import migrate_database
from infra.deploy.services import postgres
from infra.deploy.services.daemon import minimal_environment
from infra.deploy.services.directories import (
    ServerDirectory,
    SystemUser,
    find_system_user,
    write_private,
)
from infra.deploy.services.ports import Ports, choose_ports
from infra.deploy.services.threads import run_in_thread
from tests.chaos.servers import DATABASE, Servers, free_place, remove
from tests.services import Services

COPY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Both servers; every call here blocks."""

    primary: Servers
    standby: Servers

    def url(self, server: Servers) -> str:
        """``DATABASE_URL`` of one of them."""
        return postgres.url(server.services.directory, server.services.ports)

    def lose_primary(self) -> None:
        """Kill the primary and let it come back as what it must be then: read-only."""
        self.primary.kill(DATABASE, Signals.SIGQUIT)
        system_user = find_system_user(postgres.NAME)
        data = self.primary.services.directory.folder(postgres.NAME, system_user) / "data"
        write_private(data / "standby.signal", "", system_user)
        self.primary.start(DATABASE)

    def let_lag(self) -> None:
        """Let no commit wait for the standby, and the standby receive nothing more."""
        for server, statement in (
            (self.primary, "alter system set synchronous_standby_names = ''"),
            (self.primary, "select pg_reload_conf()"),
            (self.standby, "alter system set primary_conninfo = ''"),
            (self.standby, "select pg_reload_conf()"),
        ):
            server.services.execute(statement)
        streaming = "select 1 from pg_stat_replication where state = 'streaming'"
        services = self.primary.services
        self.primary.daemon(DATABASE).wait_until(lambda: not services.execute(streaming))

    def promote_standby(self) -> None:
        """Let the standby be the primary, and no commit wait for anybody."""
        self.standby.services.execute("select pg_promote(wait => true, wait_seconds => 60)")


@contextmanager
def open_pair() -> Iterator[Pair]:
    """Start both on fresh data, migrated."""
    with ExitStack() as held:
        above = free_place(held)
        places = [ServerDirectory(above.state / name, durable=True) for name in ("first", "second")]
        for directory in places:
            remove(directory)
        try:
            yield _start(*places)
        finally:
            for directory in places:
                remove(directory)
            above.remove()


def _start(first: ServerDirectory, second: ServerDirectory) -> Pair:
    primary = _server(first, None)
    primary.start(DATABASE)
    postgres.provision(first, primary.services.ports)
    run_in_thread(lambda: migrate_database(postgres.url(first, primary.services.ports)))
    standby = _server(second, primary)
    _copy(primary, standby)
    standby.start(DATABASE)
    # Written after the copy, which has to do without a standby of its own.
    for statement in (
        "alter system set synchronous_standby_names = '*'",
        "select pg_reload_conf()",
    ):
        primary.services.execute(statement)
    streaming = "select 1 from pg_stat_replication where state = 'streaming'"
    standby.daemon(DATABASE).wait_until(lambda: bool(primary.services.execute(streaming)))
    return Pair(primary, standby)


def _server(directory: ServerDirectory, like: Servers | None) -> Servers:
    directory.prepare()
    if like is not None:
        words = like.services.directory.passwords().items()
        write_private(directory.state / "passwords.env", "".join(f"{n}={v}\n" for n, v in words))
    return Servers(Services(directory, choose_ports(directory), "", 0))


def _copy(primary: Servers, standby: Servers) -> None:
    """Copy the primary's data as a standby that streams from it."""
    system_user: SystemUser = find_system_user(postgres.NAME)
    folder = standby.services.directory.folder(postgres.NAME, system_user)
    copy_data(primary, folder / "data", system_user, "-R")


def copy_data(server: Servers, target: Path, system_user: SystemUser, *options: str) -> None:
    """Take a base backup of a running server with ``pg_basebackup``."""
    binaries = postgres.binaries()
    assert binaries is not None
    services, folder = server.services, target.parent
    password = services.directory.passwords()["POSTGRES_PASSWORD"]
    words = ["-h", "127.0.0.1", "-p", str(services.ports.postgres), "-U", postgres.OWNER]
    words += ["-D", str(target), "-X", "stream", "-c", "fast", *options]
    done = subprocess.run(  # noqa: S603 - fixed words of the tests
        [str(binaries / "pg_basebackup"), *words],
        cwd=folder,
        env=minimal_environment(folder) | {"PGPASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
        timeout=COPY_SECONDS,
        umask=0o077,
        **system_user.popen,
    )
    assert done.returncode == 0, done.stderr


def port_of(server: Servers) -> int:
    """Give the port that a server listens on."""
    ports: Ports = server.services.ports
    return ports.postgres
