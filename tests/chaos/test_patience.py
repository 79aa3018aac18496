"""Patience lasts while something gets less, and ends when nothing does."""

import asyncio

from tests.chaos.patience import Patience


async def test_it_ends_when_nothing_gets_less() -> None:
    patience = Patience(0.05)
    assert patience.lasts(2)
    await asyncio.sleep(0.06)
    assert not patience.lasts(2)
    assert not patience.lasts(3)


async def test_it_begins_again_whenever_something_has_got_less() -> None:
    patience = Patience(0.05)
    assert patience.lasts(2)
    await asyncio.sleep(0.06)
    assert patience.lasts(1)
