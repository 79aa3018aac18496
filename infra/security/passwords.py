"""Passwords: which are good enough, and argon2id in threads, no more at once than cores.

One hash takes about a tenth of a second and 64 MiB, so hashes run beside the event loop
and wait for each other instead of piling up in memory. An unknown account costs the same
time as a wrong password: a hash that nothing matches is verified in its place. What is
hashed is the NFKC form, so that a password typed on another keyboard is the same.
"""

import asyncio
import os
from base64 import b64encode
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from secrets import token_bytes
from typing import ParamSpec, TypeVar
from unicodedata import normalize

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from infra import metrics
from infra.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

MIN_LENGTH = 12  # characters
MAX_BYTES = 128  # of the NFKC form in UTF-8
MIN_DISTINCT_CHARACTERS = 4  # characters
COMMON_PASSWORDS_FILE = "common_passwords.txt"


def check_strength(password: str) -> str | None:
    """Say why a password is refused, in words for a person; None when it is good enough."""
    normal = normalize("NFKC", password)
    if len(normal) < MIN_LENGTH:
        return f"must have at least {MIN_LENGTH} characters"
    if len(normal.encode(errors="surrogatepass")) > MAX_BYTES:
        return f"must have at most {MAX_BYTES} bytes"
    folded = normal.casefold()
    if folded in _common_passwords() or len(set(folded)) < MIN_DISTINCT_CHARACTERS:
        return "is one of the passwords that are tried first; choose another"
    return None


class Passwords:
    """Hashes and verifies with the parameters of the settings."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is hashed yet."""
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_time,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
            type=Type.ID,
        )
        self._dummy_hash = _make_dummy_hash(self._hasher)
        self._cores = asyncio.Semaphore(os.cpu_count() or 1)

    async def hash(self, password: str) -> str:
        """Hash a password; the result names its own parameters (PHC string format)."""
        return await self._run_in_thread(self._hasher.hash, _normalise(password))

    async def verify(self, password: str, stored: str | None) -> bool:
        """Tell whether a password fits a hash; None stands for an unknown account."""
        fits = await self._run_in_thread(
            self._matches, stored or self._dummy_hash, _normalise(password)
        )
        return fits and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Tell whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    async def _run_in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with metrics.PASSWORD_WAIT_SECONDS.time():
            await self._cores.acquire()
        try:
            return await asyncio.to_thread(work, *args, **kwargs)
        finally:
            self._cores.release()

    def _matches(self, stored: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False


def _normalise(password: str) -> bytes:
    return normalize("NFKC", password).encode(errors="surrogatepass")


def _make_dummy_hash(hasher: PasswordHasher) -> str:
    """Write a hash of today's parameters that belongs to no password."""
    salt, digest = (
        b64encode(token_bytes(size)).rstrip(b"=").decode()
        for size in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${costs}${salt}${digest}"


@cache
def _common_passwords() -> frozenset[str]:
    return frozenset(
        files("infra.security").joinpath(COMMON_PASSWORDS_FILE).read_text(encoding="utf-8").split()
    )
