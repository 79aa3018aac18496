"""Node.js, with which the tests run clients in JavaScript; running Adrelay needs none."""

import shutil

NAME = "node"
PACKAGES = ("nodejs", "npm")


def is_installed() -> bool:
    """Check whether this machine has Node.js and its package manager."""
    return all(map(shutil.which, ("node", "npm")))
