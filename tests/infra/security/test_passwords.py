"""Tests which passwords are rejected, and that verification does not reveal an account."""

import asyncio
import time

import pytest

from infra.security.passwords import Passwords, check_strength
from infra.settings import Settings

# The shape of the real thing at a price that a test can pay often.
SETTINGS = Settings(argon2_memory_kib=1024, argon2_time=1, argon2_parallelism=1)
GOOD = "plain but long enough"


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("eleven char", "at least 12"),
        ("", "at least 12"),
        ("a" * 129, "at most 128"),
        ("\U0001f511" * 33, "at most 128"),
        ("ﬃ" * 43, "at most 128"),  # 43 characters, NFKC makes 129 of them
        ("password1234", "tried first"),
        ("PassWord1234", "tried first"),
        ("ｐａｓｓｗｏｒｄ１２３４", "tried first"),  # noqa: RUF001 - fullwidth, NFKC makes it plain
        ("correcthorsebatterystaple", "tried first"),
        ("aaaaaaaaaaaaaaaa", "tried first"),
        ("abababababab", "tried first"),
        ("e\u0301" * 11, "at least 12"),  # eleven once composed
    ],
)
def test_a_weak_password_is_refused_with_the_reason(password: str, reason: str) -> None:
    assert reason in (check_strength(password) or "")
    assert not password or password not in (check_strength(password) or "")


@pytest.mark.parametrize(
    "password", [GOOD, "a1b2" * 32, "\U0001f511" * 28 + "abcdefghij", "ab1!" * 3]
)
def test_a_password_of_the_right_length_is_accepted(password: str) -> None:
    assert check_strength(password) is None


async def test_only_the_right_password_matches_its_hash() -> None:
    passwords = Passwords(SETTINGS)
    stored = await passwords.hash(GOOD)
    assert GOOD not in stored
    assert await passwords.verify(GOOD, stored)
    assert not await passwords.verify(GOOD + " ", stored)
    assert not await passwords.verify(GOOD, None)
    assert not await passwords.verify(GOOD, "no hash at all")


async def test_two_spellings_of_the_same_characters_are_the_same_password() -> None:
    passwords = Passwords(SETTINGS)
    stored = await passwords.hash("Zoe\u0308 has a long one")
    assert await passwords.verify("Zo\u00eb has a long one", stored)


async def test_a_hash_of_other_parameters_still_matches_and_is_outdated() -> None:
    old = Passwords(SETTINGS)
    new = Passwords(SETTINGS.model_copy(update={"argon2_time": 2}))
    stored = await old.hash(GOOD)
    assert await new.verify(GOOD, stored)
    assert new.is_outdated(stored)
    assert not old.is_outdated(stored)
    assert not new.is_outdated(await new.hash(GOOD))


async def test_an_unknown_account_costs_as_much_as_a_wrong_password() -> None:
    passwords = Passwords(Settings(argon2_memory_kib=8192, argon2_time=2, argon2_parallelism=1))
    stored = await passwords.hash(GOOD)

    async def cost(known: str | None) -> float:
        begun = time.process_time()
        for _ in range(5):
            assert not await passwords.verify("a wrong password", known)
        return time.process_time() - begun

    wrong, unknown = await cost(stored), await cost(None)
    assert 0.5 < unknown / wrong < 2


async def test_hashing_leaves_the_event_loop_free() -> None:
    passwords = Passwords(Settings(argon2_memory_kib=32 * 1024, argon2_time=2))
    hashing = asyncio.gather(*(passwords.hash(GOOD) for _ in range(4)))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0.001)
        turns += 1
    await hashing
    assert turns > 20
