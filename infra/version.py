"""Which code this is: a hash of the sources, so that any change is another version."""

from functools import cache
from hashlib import blake2b
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("schemas", "events", "infra", "handlers", "workers")


@cache
def code_version() -> str:
    """Hash every source file of the packages to 16 hexadecimal digits; reads them once."""
    hashed = blake2b(digest_size=8)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            hashed.update(f"{path.relative_to(ROOT)}\0".encode())
            hashed.update(blake2b(path.read_bytes(), digest_size=16).digest())
    return hashed.hexdigest()
