"""A platform's access token: fetched once for all who need it, renewed before it expires."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from schemas.oauth import AccessToken

# Renewed so many seconds early, or after four fifths of a short life.
MAX_REFRESH_AHEAD_SECONDS = 60
REFRESH_AHEAD_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float


class ClientCredentials:
    """The current token of one account; ``clock`` tells monotonic seconds."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[AccessToken]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without a token; ``fetch`` asks the platform for one."""
        self._fetch = fetch
        self._clock = clock
        self._token: _Token | None = None
        self._fetching: asyncio.Task[str] | None = None

    async def token(self, *, spent: str | None = None) -> str:
        """Tell a token that is still good and is not ``spent`` (one that was refused).

        Whoever asks while one is being fetched waits for the same answer, and raises what
        ``fetch`` raised; a caller who is cancelled leaves the others their fetch.
        """
        token = self._token
        if token is not None and token.value != spent and self._clock() < token.renew_at:
            return token.value
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._renew())
            self._fetching.add_done_callback(self._renewed)
        return await asyncio.shield(self._fetching)

    async def aclose(self) -> None:
        """Stop a fetch that is under way."""
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
            task.exception()  # Seen, even if nobody waits for it any more.
