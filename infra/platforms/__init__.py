"""The ad platforms. A new one is a module here, its words in ``schemas``, and a line below."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from infra.http.circuit_breaker import Breaker, Threshold
from infra.http.client import NoAnswer, open_session
from infra.platforms import chatgpt, claude, gemini
from infra.platforms.base import Dialect, Platform, Pushed, Refused
from infra.platforms.client import PlatformClient
from infra.platforms.metrics import BreakerState, PlatformMeters
from infra.platforms.transport import Account, Line
from infra.settings import Settings
from schemas import types

__all__ = ["PLATFORMS", "Platform", "Pushed", "Refused", "open_platforms"]

PLATFORMS: Mapping[types.Platform, Dialect] = {
    "claude": claude,
    "chatgpt": chatgpt,
    "gemini": gemini,
}


@asynccontextmanager
async def open_platforms(settings: Settings) -> AsyncIterator[Mapping[str, Platform]]:
    """Make a client for every platform; nothing is connected before the first call."""
    threshold = Threshold(open_seconds=settings.breaker_seconds)
    async with open_session(settings.platform_timeout) as session:
        lines = {}
        for name, dialect in PLATFORMS.items():
            breaker = Breaker(
                name, (NoAnswer,), threshold=threshold, listeners=[BreakerState(name)]
            )
            account = Account(*settings.account_of(name))
            lines[name] = Line(dialect, account, session, breaker, PlatformMeters(name))
        try:
            yield {name: PlatformClient(PLATFORMS[name], line) for name, line in lines.items()}
        finally:
            for line in lines.values():
                await line.aclose()
