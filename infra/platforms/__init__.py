"""The ad platforms. A new one is a module here, its formats in ``schemas``, and a line below."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from infra.http.circuit_breaker import BreakerConfig, CircuitBreaker
from infra.http.client import HttpFailure, open_session
from infra.platforms import chatgpt, claude, gemini
from infra.platforms.base import AdPlatform, Dialect, RemoteCampaign
from infra.platforms.client import PlatformClient
from infra.platforms.metrics import CircuitBreakerGauge, PlatformMetrics
from infra.platforms.results import Rejected
from infra.platforms.transport import ClientRegistration, Transport
from infra.settings import Settings
from infra.tracing import Tracer
from schemas import types

__all__ = ["PLATFORMS", "AdPlatform", "Rejected", "RemoteCampaign", "open_platforms"]

PLATFORMS: Mapping[types.Platform, Dialect] = {
    "claude": claude,
    "chatgpt": chatgpt,
    "gemini": gemini,
}


@asynccontextmanager
async def open_platforms(
    settings: Settings, tracer: Tracer | None = None
) -> AsyncIterator[Mapping[str, AdPlatform]]:
    """Open a client for every platform; nothing is connected before the first request."""
    config = BreakerConfig(open_seconds=settings.breaker_seconds)
    async with open_session(settings.platform_timeout) as session:
        transports = {}
        for name, dialect in PLATFORMS.items():
            breaker = CircuitBreaker(
                name, (HttpFailure,), config=config, listeners=[CircuitBreakerGauge(name)]
            )
            own = settings.platform(name)
            account = ClientRegistration(own.url, own.client_id, own.client_secret)
            transports[name] = Transport(
                dialect, account, session, breaker, PlatformMetrics(name), tracer
            )
        try:
            yield {
                name: PlatformClient(PLATFORMS[name], transport)
                for name, transport in transports.items()
            }
        finally:
            for transport in transports.values():
                await transport.aclose()
