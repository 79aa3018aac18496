"""A base backup of a private Postgres, taken under load and put back after its data is lost."""

import shutil
from signal import Signals

from infra.deploy.services import postgres
from infra.deploy.services.directories import find_system_user
from tests.chaos.pair import copy_data
from tests.chaos.servers import DATABASE, Servers


class Backup:
    """The data directory of a server, and a backup beside it; every call here blocks."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._system_user = find_system_user(postgres.NAME)
        folder = servers.services.directory.folder(postgres.NAME, self._system_user)
        self._data, self._copy = folder / "data", folder / "backup"

    def take(self) -> None:
        """Back up the running server, in place of an older backup."""
        shutil.rmtree(self._copy, ignore_errors=True)
        copy_data(self._servers, self._copy, self._system_user)

    def lose_data(self) -> None:
        """Kill the server and delete all that it had."""
        self._servers.kill(DATABASE, Signals.SIGKILL)
        shutil.rmtree(self._data)

    def put_back(self) -> None:
        """Start the server on the backup, which stays for another time."""
        shutil.copytree(self._copy, self._data, symlinks=True)
        for path in (self._data, *self._data.rglob("*")):
            shutil.chown(path, self._system_user.uid, self._system_user.gid)
        self._servers.start(DATABASE)
