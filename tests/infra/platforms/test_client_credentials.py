"""One token for all who need it, with a clock that the test turns."""

import asyncio

import pytest
from pydantic import SecretStr

from infra.platforms.client_credentials import ClientCredentials
from schemas.oauth import AccessToken


class Endpoint:
    """Issues tokens called t1, t2, .. when the test lets it."""

    def __init__(self, expires_in: int = 3600) -> None:
        self.now = 1000.0
        self.expires_in = expires_in
        self.calls = 0
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.credentials = ClientCredentials(self.fetch, clock=lambda: self.now)

    async def fetch(self) -> AccessToken:
        self.calls += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        token = SecretStr(f"t{self.calls}")
        return AccessToken(access_token=token, expires_in=self.expires_in)


async def test_a_token_is_kept() -> None:
    endpoint = Endpoint()
    for _ in range(3):
        assert await endpoint.credentials.token() == "t1"


@pytest.mark.parametrize(("expires_in", "kept", "renewed"), [(3600, 3539, 3540), (100, 79, 80)])
async def test_a_token_is_renewed_ahead_of_its_end(
    expires_in: int, kept: float, renewed: float
) -> None:
    endpoint = Endpoint(expires_in)
    await endpoint.credentials.token()
    endpoint.now = 1000 + kept
    assert await endpoint.credentials.token() == "t1"
    endpoint.now = 1000 + renewed
    assert await endpoint.credentials.token() == "t2"


async def test_all_who_wait_share_one_fetch_and_its_failure() -> None:
    endpoint = Endpoint()
    endpoint.open.clear()
    endpoint.error = ConnectionError("down")
    waiting = [asyncio.create_task(endpoint.credentials.token()) for _ in range(10)]
    await asyncio.sleep(0)
    endpoint.open.set()
    failed = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, ConnectionError) for error in failed)
    assert endpoint.calls == 1
    endpoint.error = None
    assert await endpoint.credentials.token() == "t2"


async def test_who_is_cancelled_leaves_the_others_their_fetch() -> None:
    endpoint = Endpoint()
    endpoint.open.clear()
    first, second = (asyncio.create_task(endpoint.credentials.token()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    endpoint.open.set()
    assert await second == "t1"
    assert first.cancelled()


async def test_a_spent_token_is_replaced_once_for_all_who_spent_it() -> None:
    endpoint = Endpoint()
    spent = await endpoint.credentials.token()
    fresh = await asyncio.gather(*(endpoint.credentials.token(spent=spent) for _ in range(5)))
    assert set(fresh) == {"t2"}
    assert await endpoint.credentials.token(spent=spent) == "t2"
    assert endpoint.calls == 2


async def test_closing_ends_a_fetch_that_hangs() -> None:
    endpoint = Endpoint()
    endpoint.open.clear()
    waiting = asyncio.create_task(endpoint.credentials.token())
    await asyncio.sleep(0)
    await endpoint.credentials.aclose()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()


async def test_a_token_does_not_show_in_a_repr() -> None:
    endpoint = Endpoint()
    token = AccessToken(access_token=SecretStr("hush"))
    assert "hush" not in repr(token)
    await endpoint.credentials.token()
    assert "t1" not in repr(endpoint.credentials._token)
