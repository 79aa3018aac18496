"""What the bench needs beside Python packages: wrk, and Node with a folder of its packages."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from infra.deploy.services import apt
from tests.bench.stage import PLACE

SOURCES = Path(__file__).with_name("peers")
PATIENCE = 300.0  # seconds
PROGRAMS = {"wrk": ("wrk",), "node": ("nodejs", "npm")}


def node_folder() -> Path:
    """Give the folder where the programs for Node run; their packages are beside them."""
    return PLACE.state / "node"


def prepare(say: Callable[[str], None]) -> None:
    """Install what is missing; raises ``RuntimeError`` naming what cannot be had."""
    for name in PROGRAMS:
        need(name, say)
    folder = node_folder()
    folder.mkdir(parents=True, exist_ok=True)
    manifest = (SOURCES / "package.json").read_text()
    for script in SOURCES.glob("*.js"):
        shutil.copy(script, folder)
    installed = folder / "package.json"
    if not installed.is_file() or installed.read_text() != manifest:
        say("installing the packages of the peers on Node")
        _install(folder, manifest)


def need(name: str, say: Callable[[str], None]) -> None:
    """Install one program of ``PROGRAMS`` if it is missing; raises as ``prepare`` does."""
    packages = PROGRAMS[name]
    if shutil.which(name) is None:
        apt.install(packages, say)
    if shutil.which(name) is None:
        raise RuntimeError(f"{name} is missing; install {' '.join(packages)}")


def _install(folder: Path, manifest: str) -> None:
    scratch = folder / "package.json"
    scratch.write_text(manifest)
    done = subprocess.run(
        ["npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    if done.returncode:
        scratch.unlink()
        raise RuntimeError(f"npm install failed: {done.stderr.strip()[-2000:]}")
