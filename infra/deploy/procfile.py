"""The processes of a system: the lines of the Procfile, and the sandbox beside them."""

import json
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.deploy.services.daemon import NotStarted
from infra.deploy.services.directories import CHECKOUT, ServerDirectory
from infra.deploy.services.ports import is_free

PROCFILE = CHECKOUT / "Procfile"
RELEASE = "release"
SANDBOX = "sandbox"
SANDBOX_COMMAND = "python -m infra.sandbox"
# The workers' probes follow from 9101 on, in the order of the Procfile.
OWN_PORTS = {"web": 8080, SANDBOX: 8090}
FIRST_PROBE_PORT = 9101
HIGHEST_PORT = 32_767


@dataclass(frozen=True, slots=True)
class Process:
    """One process to keep running: its name, its command and its port."""

    name: str
    command: str
    port: int

    @property
    def argv(self) -> list[str]:
        """Split the command; ``python`` is the one that runs now."""
        program, *words = shlex.split(self.command)
        return [sys.executable if program == "python" else program, *words]

    @property
    def url(self) -> str:
        """Address of its port."""
        return f"http://127.0.0.1:{self.port}"


def read_procfile(path: Path = PROCFILE) -> dict[str, str]:
    """Read ``name: command`` lines."""
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    pairs = (line.split(":", 1) for line in lines if not line.startswith("#"))
    return {name.strip(): command.strip() for name, command in pairs}


def commands() -> dict[str, str]:
    """List the commands of everything that is kept running."""
    lines = {name: line for name, line in read_procfile().items() if name != RELEASE}
    return {**lines, SANDBOX: SANDBOX_COMMAND}


def planned(directory: ServerDirectory) -> list[Process]:
    """Read the processes and ports of the last start; empty when there was none."""
    file = directory.state / "processes.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    return [Process(name, line, kept[name]) for name, line in commands().items() if name in kept]


def plan(
    directory: ServerDirectory,
    wanted_port: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> list[Process]:
    """Give every process its port: the one of the last start, else its own, else the next free.

    ``wanted_port`` asks for another port of the ingress; raises ``NotStarted`` when that is
    taken. Call it while the processes do not run.
    """
    kept = {process.name: process.port for process in planned(directory)}
    workers = [name for name in commands() if name not in OWN_PORTS]
    wanted = {name: FIRST_PROBE_PORT + index for index, name in enumerate(workers)}
    wanted |= OWN_PORTS | kept
    if wanted_port:
        if not is_free(wanted_port):
            raise NotStarted(
                f"port {wanted_port} of ADRELAY_URL is taken by another program; name another port"
            )
        wanted["web"] = wanted_port
    chosen = {"web": wanted_port} if wanted_port else {}
    for name in commands():
        if name in chosen:
            continue
        chosen[name] = _free_port(wanted[name], chosen.values())
    if chosen["web"] != wanted["web"]:
        report(f"port {wanted['web']} is taken by another program: the API takes {chosen['web']}")
    (directory.state / "processes.json").write_text(json.dumps(chosen) + "\n")
    return planned(directory)


def _free_port(wanted: int, taken: Iterable[int]) -> int:
    for port in range(wanted, HIGHEST_PORT + 1):
        if port not in taken and is_free(port):
            return port
    raise RuntimeError(f"no free port from {wanted} on")
