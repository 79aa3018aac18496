"""An earlier commit, checked out beside this one, and the interpreter that runs it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.deploy.services.directories import CHECKOUT

INSTALLING = 900.0  # seconds
PINNED = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


def git(*words: str) -> str:
    """Run git here; raises ``RuntimeError`` with what it says."""
    try:
        done = subprocess.run(  # noqa: S603 - words of the tests
            ["git", "-C", str(CHECKOUT), *words],  # noqa: S607 - wherever it is installed
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except FileNotFoundError:
        raise RuntimeError("git is missing; install it") from None
    if done.returncode:
        raise RuntimeError(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """Check a commit out into ``folder``, for the length of a block; raises ``RuntimeError``."""
    _remove(folder)
    try:
        git("worktree", "add", "--detach", "--force", str(folder), commit)
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    if folder.exists():
        with suppress(RuntimeError):
            git("worktree", "remove", "--force", str(folder))
        shutil.rmtree(folder, ignore_errors=True)
    git("worktree", "prune")


def find_python(folder: Path, lock: str) -> str:
    """Find the interpreter of a checkout: ours, if it has every package that ``lock`` names there.

    Otherwise they are installed beside it. Raises ``RuntimeError`` when they cannot be.
    """
    name = Path("requirements", f"{lock}.txt")
    wanted, found = (_pins(place / name) for place in (folder, CHECKOUT))
    if wanted.items() <= found.items():
        return sys.executable
    done = subprocess.run(  # noqa: S603 - our own script
        ["infra/deploy/venv.sh", lock],  # noqa: S607 - in the checkout
        cwd=folder,
        env={**os.environ, "PYTHON": sys.executable},
        check=False,
        timeout=INSTALLING,
    )
    if done.returncode:
        raise RuntimeError(f"the packages of {folder.name} could not be installed")
    return str(folder / ".venv" / "bin" / "python")


def _pins(lock: Path) -> dict[str, str]:
    return dict(PINNED.findall(lock.read_text()))
