"""Which code this is: a hash of the sources, the release, and the commit of a checkout."""

import tomllib
from functools import cache
from hashlib import blake2b
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("schemas", "events", "infra", "handlers", "workers")
NAME = "adrelay"
UNKNOWN = "unknown"


@cache
def code_version() -> str:
    """Hash every source file of the packages to 16 hexadecimal digits; reads them once."""
    hashed = blake2b(digest_size=8)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            hashed.update(f"{path.relative_to(ROOT)}\0".encode())
            hashed.update(blake2b(path.read_bytes(), digest_size=16).digest())
    return hashed.hexdigest()


def find_release() -> str:
    """Find the version of the installed package, else that of the checkout."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        pass
    try:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        return str(project["project"]["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return UNKNOWN


def find_commit(root: Path = ROOT) -> str:
    """Read which commit a checkout is at, from its files; ``unknown`` without a repository.

    ``.git`` is a folder, or in a linked worktree a file that names one (gitrepository-layout(5)).
    """
    try:
        folder = root / ".git"
        if folder.is_file():
            folder = root / folder.read_text().partition("gitdir:")[2].strip()
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head
        common = folder / "commondir"
        shared = folder / common.read_text().strip() if common.is_file() else folder
        return _read_branch(shared, head.partition(":")[2].strip())
    except OSError:
        return UNKNOWN


def _read_branch(folder: Path, name: str) -> str:
    """Read the commit of a branch: a file of its own, or a line of ``packed-refs``."""
    if (folder / name).is_file():
        return (folder / name).read_text().strip()
    lines = (folder / "packed-refs").read_text().splitlines()
    found = (line.split()[0] for line in lines if line.endswith(f" {name}"))
    return next(found, UNKNOWN)
