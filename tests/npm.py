"""Installs locked packages of npm for a test."""

import fcntl
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PATIENCE = 120.0  # seconds


def find_node() -> tuple[str, str]:
    """Find Node.js and npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    assert node, "Node.js is missing: python -m infra.deploy install"
    assert npm, "npm is missing: python -m infra.deploy install"
    return node, npm


def install(npm: str, sources: Path, files: Sequence[str], folder: Path) -> None:
    """Install the packages of the lock, checked against its hashes, where it has changed.

    ``files`` are copied from ``sources`` to ``folder``, where the packages are afterwards.
    """
    lock = (sources / "package-lock.json").read_text()
    mark = folder / "installed"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for name in files:
            shutil.copy(sources / name, folder)
        if mark.is_file() and mark.read_text() == lock:
            return
        mark.unlink(missing_ok=True)
        subprocess.run(  # noqa: S603 - the npm of this machine
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=folder,
            check=True,
            timeout=PATIENCE,
        )
        mark.write_text(lock)
