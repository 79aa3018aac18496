"""Checks the strength of passwords, and hashes them with argon2id in threads.

One hash takes about a tenth of a second and 64 MiB, so hashes run outside the event loop, at most
one for each core, and queue instead of filling the memory. An unknown account takes the
same time as a wrong password: a dummy hash is verified instead. The NFKC form is hashed, so
that a password typed on another keyboard is the same.
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
    """Say why a password is rejected, in a text for users; None when it is strong enough."""
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
    """Hashes and verifies passwords with the parameters of the settings."""

    def __init__(self, settings: Settings) -> None:
        """Hash nothing yet."""
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_time,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
            type=Type.ID,
        )
        self._dummy_hash = _make_dummy_hash(self._hasher)
        self._cores = asyncio.Semaphore(os.cpu_count() or 1)

    async def hash(self, password: str) -> str:
        """Hash a password; the result contains its parameters (PHC string format)."""
        return await self._run_in_thread(self._hasher.hash, _normalise(password))

    async def verify(self, password: str, stored: str | None) -> bool:
        """Return whether a password matches a hash; None stands for an unknown account."""
        fits = await self._run_in_thread(
            self._matches, stored or self._dummy_hash, _normalise(password)
        )
        return fits and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Return whether a hash was made with other parameters than those of the settings."""
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
    """Build a hash with the present parameters that matches no password."""
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
