"""The browser that the tests let people consent with; running Adrelay needs none."""

import shutil

NAME = "chromium"
PACKAGES = ("chromium",)


def is_installed() -> bool:
    """Check whether this machine has the browser."""
    return shutil.which(NAME) is not None
