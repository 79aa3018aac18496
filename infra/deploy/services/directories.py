"""The directory of a set of local servers: ``.services`` for a running system, or one below it.

A server that refuses to run as root runs as its own system user and cannot always reach the
checkout (a home directory that only root may enter). Its data then lives in
``/var/lib/adrelay-<tag>`` and ``.services/data`` is a link to it.
"""

import hashlib
import os
import pwd
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.env_file import read_env_file

CHECKOUT = Path(__file__).resolve().parents[3]
# What other commands keep in the folder of the running system.
KEPT_ENTRIES = ("test", "chaos", "bench", "venv.lock")
SYSTEM_DATA = Path("/var/lib")
PASSWORDS = (
    "RABBITMQ_OPERATOR_PASSWORD",
    "RABBITMQ_INGRESS_PASSWORD",
    "RABBITMQ_CONSOLE_PASSWORD",
    "RABBITMQ_WORKERS_PASSWORD",
    "RABBITMQ_UPSTREAM_PASSWORD",
    "RABBITMQ_OPS_PASSWORD",
    "ERLANG_COOKIE",
    "POSTGRES_PASSWORD",
    "DATABASE_PASSWORD",
    "REDIS_PASSWORD",
)


@dataclass(frozen=True, slots=True)
class SystemUser:
    """The system user that a server runs as; the current user unless that is root."""

    uid: int
    gid: int
    switches: bool

    @property
    def popen(self) -> dict[str, Any]:
        """Arguments of ``subprocess`` that start a program as this user."""
        if not self.switches:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": [self.gid]}


def find_system_user(name: str) -> SystemUser:
    """Find the user for the server ``name``: ourselves, or a system user when we are root."""
    if os.geteuid() != 0:
        return SystemUser(os.geteuid(), os.getegid(), switches=False)
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get(name) or known["nobody"]
    return SystemUser(entry.pw_uid, entry.pw_gid, switches=True)


@dataclass(frozen=True, slots=True)
class ServerDirectory:
    """The folder of one set of servers. ``durable`` is false where data may be lost."""

    state: Path
    durable: bool = True

    @property
    def tag(self) -> str:
        """Identify this directory on the machine: eight hexadecimal digits."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:8]

    @property
    def logs(self) -> Path:
        """Folder of the logs, one file for each process."""
        return self.state / "log"

    @property
    def data(self) -> Path:
        """Folder of the servers' data; perhaps a link."""
        return self.state / "data"

    def prepare(self) -> None:
        """Make the folders; other users may pass through, so that servers reach their own."""
        for folder in (self.state, self.logs, self.state / "run"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o711)

    def _make_data(self) -> None:
        self.data.unlink(missing_ok=True)
        if os.geteuid() == 0 and not self._is_reachable():
            # A folder of the same tag is what a deleted checkout has left, its passwords lost.
            if not self.durable:
                for left in SYSTEM_DATA.glob(f"adrelay-{self.tag}-*"):
                    shutil.rmtree(left, ignore_errors=True)
            elsewhere = SYSTEM_DATA / f"adrelay-{self.tag}-{secrets.token_hex(4)}"
            elsewhere.mkdir()
            elsewhere.chmod(0o711)
            self.data.symlink_to(elsewhere)
        else:
            self.data.mkdir()
            self.data.chmod(0o711)

    def _is_reachable(self) -> bool:
        return all(folder.stat().st_mode & 0o001 for folder in (self.state, *self.state.parents))

    def folder(self, server: str, system_user: SystemUser) -> Path:
        """Make the data folder of a server, readable by its account alone."""
        if not self.data.exists():
            self._make_data()
        folder = self.data.resolve() / server
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        if system_user.switches and folder.stat().st_uid != system_user.uid:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, system_user.uid, system_user.gid, follow_symlinks=False)
        return folder

    def passwords(self) -> dict[str, str]:
        """Read the servers' passwords; made at random the first time."""
        file = self.state / "passwords.env"
        known = read_env_file(file)
        missing = {name: secrets.token_hex(20) for name in PASSWORDS if name not in known}
        if missing:
            known |= missing
            write_private(file, "".join(f"{name}={value}\n" for name, value in known.items()))
        return known

    def remove(self) -> None:
        """Delete the data of stopped servers, but not the directories of other commands below."""
        if self.data.is_symlink():
            shutil.rmtree(self.data.resolve(), ignore_errors=True)
        for entry in self.state.iterdir() if self.state.is_dir() else ():
            if entry.name in KEPT_ENTRIES:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def write_private(path: Path, text: str, system_user: SystemUser | None = None) -> None:
    """Write a file in one step that only its owner may read."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    if system_user is not None and system_user.switches:
        os.chown(draft, system_user.uid, system_user.gid)
    draft.replace(path)


RUN_DIRECTORY = ServerDirectory(CHECKOUT / ".services")
