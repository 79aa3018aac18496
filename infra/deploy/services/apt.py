"""Missing servers from the distribution's packages, on Debian and Ubuntu.

It needs root, or sudo (which may ask for the password on a terminal). The packages' own
daemons are not started: see ``apt.sh``.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

SCRIPT = Path(__file__).with_name("apt.sh")
DEADLINE = 900.0  # seconds


def prefix() -> list[str] | None:
    """Say what makes a command run as root: nothing, ``sudo``, or ``None`` when nothing can."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    asks_nothing = not subprocess.run(
        ["sudo", "-n", "true"], capture_output=True, check=False, timeout=10
    ).returncode
    return ["sudo"] if asks_nothing or sys.stdin.isatty() else None


def install(packages: Sequence[str], report: Callable[[str], None]) -> bool:
    """Install packages; returns whether that succeeded."""
    root = prefix()
    if root is None:
        return False
    report(f"installing with apt: {' '.join(packages)} (their own daemons are not started)")
    done = subprocess.run(
        [*root, str(SCRIPT), *packages],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    if done.returncode:
        report(f"apt failed:\n{done.stdout[-2000:]}")
    return done.returncode == 0
