"""Runs checks side by side, each within its time; one that fails stops no other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp.management_api import ManagementApi
from infra.commands.doctor.finding import Finding, Level, not_checked
from infra.messaging.topology_monitor import vhost_of
from infra.settings import Settings
from infra.storage.engine import describe_error, open_engine

CLOSE_TIMEOUT = 3.0  # seconds


class Unavailable(Exception):
    """A check lacks what it needs; the message says what."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What checks work with. ``timeout`` is in seconds, of each check."""

    settings: Settings
    engine: AsyncEngine
    management: ManagementApi | None
    vhost: str
    timeout: float

    @property
    def api(self) -> ManagementApi:
        """The management API; raises ``Unavailable`` without one."""
        if self.management is None:
            raise Unavailable("RABBITMQ_MANAGEMENT_URL is not set")
        return self.management


Check = Callable[[Examination], Awaitable[list[Finding]]]


@asynccontextmanager
async def open_examination(settings: Settings, timeout: float) -> AsyncIterator[Examination]:  # noqa: ASYNC109 - of each check
    """Prepare the clients of the checks; they connect on first use."""
    # A single wait ends before its check does, so that the check can say what did not answer.
    wait = timeout * 0.7
    bounds = {"statement_timeout": wait, "broker_timeout": wait, "redis_timeout": wait}
    bounded = settings.model_copy(update=bounds)
    management = ManagementApi.from_settings(settings)
    engine = open_engine(bounded)
    try:
        yield Examination(bounded, engine, management, vhost_of(settings), timeout)
    finally:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await engine.dispose()


async def run_checks(examination: Examination, checks: Mapping[str, Check]) -> list[Finding]:
    """Run all checks at the same time; the findings are in the order of the checks."""
    results = await asyncio.gather(
        *(_run_within(examination, check) for check in checks.values()), return_exceptions=True
    )
    findings: list[Finding] = []
    for name, result in zip(checks, results, strict=True):
        findings += [_explain(name, result)] if isinstance(result, BaseException) else result
    return findings


async def _run_within(examination: Examination, check: Check) -> list[Finding]:
    async with asyncio.timeout(examination.timeout):
        return await check(examination)


def _explain(check: str, error: BaseException) -> Finding:
    """Make a finding of what stopped a check; raises what is no ``Exception``, but a stuck broker.

    aiormq cancels who waits when it declares a connection stuck.
    """
    if isinstance(error, Unavailable):
        return not_checked(check, str(error))
    if isinstance(error, TimeoutError | asyncio.CancelledError):
        found = "not checked: no answer in time"
        return Finding(
            Level.WARNING,
            check,
            found,
            "a server is slow, or this machine is busy",
            "run it again; --timeout gives each check more seconds",
        )
    if not isinstance(error, Exception):
        raise error
    reason = str(error) if isinstance(error, OSError) else ""
    return not_checked(check, reason or describe_error(error))


def worst(findings: Iterable[Finding]) -> Level:
    """Find the worst level."""
    return max((finding.level for finding in findings), default=Level.OK)
