"""A private Postgres: own role and database with a password (SCRAM), no trust, no Unix socket.

Where data need not last (the tests), it does not wait for the disk.
"""

import os
import shutil
import subprocess
from pathlib import Path

from infra.deploy.services.daemon import Daemon, NotStarted, environment
from infra.deploy.services.place import Account, Place, account_of, write_private
from infra.deploy.services.ports import Ports

NAME = "postgres"
PACKAGES = ("postgresql",)
OWNER = "postgres"
ROLE = "adrelay"
SET_UP = """
select 'create role adrelay login'
 where not exists (select from pg_roles where rolname = 'adrelay') \\gexec
alter role adrelay password :'password';
select 'create database adrelay owner adrelay'
 where not exists (select from pg_database where datname = 'adrelay') \\gexec
"""
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
    """Tell whether this machine has the server."""
    return binaries() is not None


def url(place: Place, ports: Ports, database: str = ROLE) -> str:
    """Build ``DATABASE_URL`` of the role that Adrelay uses."""
    password = place.passwords()["DATABASE_PASSWORD"]
    return f"postgresql://{ROLE}:{password}@127.0.0.1:{ports.postgres}/{database}"


def _program(name: str) -> str:
    folder = binaries()
    if folder is None:
        raise NotStarted("Postgres is not installed")
    return str(folder / name)


def start(place: Place, ports: Ports) -> Daemon:
    """Make the data directory if there is none, and start the server in the background."""
    daemon, account = Daemon(place, NAME), account_of(NAME)
    if daemon.pid() is None:
        folder = place.folder(NAME, account)
        data = folder / "data"
        if not (data / "PG_VERSION").exists():
            _initialise(place, account, folder, data)
        settings = {
            "port": str(ports.postgres),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            **({} if place.durable else dict.fromkeys(DISPOSABLE, "off")),
        }
        options = [word for item in settings.items() for word in ("-c", "=".join(item))]
        daemon.start([_program("postgres"), "-D", str(data), *options], account, folder)
    return daemon


def _initialise(place: Place, account: Account, folder: Path, data: Path) -> None:
    secret = folder / "password"
    write_private(secret, place.passwords()["POSTGRES_PASSWORD"], account)
    words = ["-D", str(data), "-U", OWNER, "--auth=scram-sha-256", f"--pwfile={secret}"]
    words += ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
    done = subprocess.run(
        [_program("initdb"), *words],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        umask=0o077,
        **account.popen,
    )
    secret.unlink()
    if done.returncode:
        shutil.rmtree(data, ignore_errors=True)
        raise NotStarted(f"initdb failed: {done.stderr.strip()}")
    if place.durable:
        os.sync()


def wait(daemon: Daemon, ports: Ports) -> None:
    """Wait until it answers, then make the role and the database if they are missing."""
    daemon.wait_until(lambda: _answers(ports))
    password = daemon.place.passwords()["DATABASE_PASSWORD"]
    execute(daemon.place, ports, f"\\set password {password}\n{SET_UP}")


def _answers(ports: Ports) -> bool:
    words = ["-q", "-h", "127.0.0.1", "-p", str(ports.postgres)]
    return not subprocess.run([_program("pg_isready"), *words], check=False, timeout=10).returncode


def execute(place: Place, ports: Ports, sql: str) -> None:
    """Run SQL as the server's owner; raises ``NotStarted`` with the server's words."""
    words = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(ports.postgres)]
    done = subprocess.run(
        [_program("psql"), *words, "-U", OWNER, "-d", "postgres"],
        input=sql,
        env=environment(place.state) | {"PGPASSWORD": place.passwords()["POSTGRES_PASSWORD"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise NotStarted(f"Postgres refused its set-up: {done.stderr.strip()}")
