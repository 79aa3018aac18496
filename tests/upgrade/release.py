"""A release: its checkout, its interpreter, and how its processes and commands run."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.deploy.services.directories import CHECKOUT
from infra.settings import Settings
from tests.fork_server import Forked
from tests.git_worktree import find_python, git, worktree
from tests.processes import Process

PREVIOUS = Path(__file__).with_name("PREVIOUS").read_text().strip()
# What this release brings for the one before, which has no such worker yet.
WORKER = Path("tests/upgrade/metrics_worker.py")
COMMAND_SECONDS = 300.0
DEFINITIONS = """
import json, sys
from infra.amqp.permissions import definitions
print(json.dumps(definitions(sys.argv[1])))
"""
SETTINGS = """
import json
from infra.settings import Settings
print(json.dumps(list(Settings.model_fields)))
"""


@dataclass(frozen=True)
class Release:
    """A version of Adrelay in a folder; ``variables`` are the settings that it knows."""

    name: str
    folder: Path
    python: str
    variables: frozenset[str]
    changes: Mapping[str, str]

    def narrow(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Leave out the settings that only the other release knows, as its own files would."""
        foreign = {name.upper() for name in Settings.model_fields} - self.variables
        known = {name: value for name, value in environment.items() if name not in foreign}
        return {**known, **self.changes}

    async def run(self, *words: str, environment: Mapping[str, str]) -> str:
        """Run a command to its end; gives what it has printed. Fails when it does."""
        process = await asyncio.create_subprocess_exec(
            self.python,
            *words,
            cwd=self.folder,
            env=self.narrow(environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(COMMAND_SECONDS):
            output, errors = await process.communicate()
        assert process.returncode == 0, f"{self.name}: {words}: {errors.decode()}"
        return output.decode()

    async def definitions(self, vhost: str) -> dict[str, Any]:
        """Give the definitions of a vhost, with which its operator has filled the broker."""
        written = await self.run("-c", DEFINITIONS, vhost, environment=os.environ)
        loaded: dict[str, Any] = json.loads(written)
        return loaded


@contextmanager
def open_previous(folder: Path) -> Iterator[Release]:
    """Check the release before out, for the length of a block."""
    commit = git("rev-parse", "--verify", f"{PREVIOUS}^{{commit}}")
    with worktree(commit, folder) as checkout:
        target = checkout / WORKER
        target.parent.mkdir(exist_ok=True)
        shutil.copy(CHECKOUT / WORKER, target)
        yield _open("previous", checkout, find_python(checkout, "run"), INGRESS_ONLY)


def open_present() -> Release:
    """Give the release of this checkout."""
    return _open("present", CHECKOUT, sys.executable, {})


# One user may ask its auth worker.
INGRESS_ONLY = {"INGRESS_USER": "adrelay-ingress"}


def _open(name: str, folder: Path, python: str, changes: Mapping[str, str]) -> Release:
    listed = subprocess.run(  # noqa: S603 - our own interpreter
        [python, "-c", SETTINGS],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=COMMAND_SECONDS,
    )
    variables = frozenset(name.upper() for name in json.loads(listed.stdout))
    return Release(name, folder, python, variables, changes)


class _Executed(Forked):
    """A process of its own interpreter."""

    def __init__(self, started: "subprocess.Popen[bytes]") -> None:
        self.pid = started.pid
        self._started = started

    @property
    def returncode(self) -> int | None:
        return self._started.poll()

    def wait(self) -> int:
        return self._started.wait()


class ReleaseProcess(Process):
    """A process of a release."""

    def __init__(self, release: Release, module: str, settings: Settings) -> None:
        """Prepare; nothing runs yet."""
        super().__init__(module, settings)
        self.release = release
        self._environment = release.narrow(self._environment)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _fork(self) -> Forked:
        with self._log.open("ab") as log:
            started = subprocess.Popen(  # noqa: S603 - our own interpreter
                [self.release.python, "-m", self.module],
                cwd=self.release.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        return _Executed(started)

    async def end(self) -> None:
        """Ask it to end, as an upgrade does; fails unless it ends well."""
        self.send(signal.SIGTERM)
        status = await self.ended(120)
        assert status == 0, f"{self.release.name} {self.module}: {status}\n{self.output[-3000:]}"
