"""The access token of our own client at a platform: one fetch for all requests."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from schemas.oauth import AccessToken

# A token is refreshed this many seconds early, or after four fifths of a short lifetime.
MAX_REFRESH_AHEAD_SECONDS = 60
REFRESH_AHEAD_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float


class ClientCredentials:
    """The current access token of our own client; ``clock`` returns monotonic seconds."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[AccessToken]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without a token; ``fetch`` requests one from the platform."""
        self._fetch = fetch
        self._clock = clock
        self._token: _Token | None = None
        self._fetching: asyncio.Task[str] | None = None

    async def token(self, *, spent: str | None = None) -> str:
        """Return a token that has not expired and is not ``spent`` (one that was rejected).

        Concurrent callers share one fetch and raise what ``fetch`` raised; cancelling one of them
        does not cancel the fetch.
        """
        token = self._token
        if token is not None and token.value != spent and self._clock() < token.renew_at:
            return token.value
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._renew())
            self._fetching.add_done_callback(self._renewed)
        return await asyncio.shield(self._fetching)

    async def aclose(self) -> None:
        """Cancel a fetch in progress."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _renew(self) -> str:
        began = self._clock()
        answer = await self._fetch()
        early = min(MAX_REFRESH_AHEAD_SECONDS, answer.expires_in * REFRESH_AHEAD_SHARE)
        value = answer.access_token.get_secret_value()
        self._token = _Token(value, began + answer.expires_in - early)
        return value

    def _renewed(self, task: asyncio.Task[str]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # Retrieved, so that asyncio does not log it.
