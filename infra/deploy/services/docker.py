"""Missing servers as containers, where neither the machine nor apt has them.

``compose.yaml`` names them; the ports and passwords are those of the directory, so that
nothing else depends on it.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from infra.deploy.services.daemon import NotStarted
from infra.deploy.services.directories import ServerDirectory
from infra.deploy.services.ports import Ports

COMPOSE = Path(__file__).resolve().with_name("compose.yaml")
DEADLINE = 600.0  # seconds: images may have to be fetched


def is_possible() -> bool:
    """Check whether docker with its compose plugin answers here."""
    if shutil.which("docker") is None:
        return False
    for words in (["info"], ["compose", "version"]):
        done = subprocess.run(["docker", *words], capture_output=True, check=False, timeout=30)
        if done.returncode:
            return False
    return True


def _marker(directory: ServerDirectory) -> Path:
    return directory.state / "run" / "containers"


def _compose(directory: ServerDirectory, ports: Ports | None, *words: str) -> None:
    numbers = (
        {f"{name.upper()}_PORT": str(port) for name, port in asdict(ports).items()} if ports else {}
    )
    done = subprocess.run(
        ["docker", "compose", "-f", str(COMPOSE), "-p", f"adrelay-{directory.tag}", *words],
        env={**os.environ, **directory.passwords(), **numbers, "STATE": str(directory.state)},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    if done.returncode:
        raise NotStarted(f"docker compose {words[0]} failed: {done.stderr[-2000:]}")


def start(directory: ServerDirectory, ports: Ports, servers: Sequence[str]) -> None:
    """Start the containers of ``servers`` and wait until they are healthy."""
    _marker(directory).write_text(" ".join(servers) + "\n")
    _compose(directory, ports, "up", "--detach", "--wait", *servers)


def stop(directory: ServerDirectory, *, remove: bool = False) -> None:
    """Stop the containers that were started here; ``remove`` deletes their data too."""
    if _marker(directory).exists():
        _compose(directory, None, "down", *(["--volumes"] if remove else []))
    if remove:
        _marker(directory).unlink(missing_ok=True)
