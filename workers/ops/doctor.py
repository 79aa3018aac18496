"""Runs the doctor's checks for the console: one run at a time, its result shared for a while.

The console has the rights of its own broker user, and no access to the management API unless
RABBITMQ_MANAGEMENT_URL is set for it. What it cannot see is among the findings, as not checked.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from events.envelope import now
from infra.commands.doctor.checks import CHECKS, examine
from infra.commands.doctor.examination import Check
from infra.commands.doctor.finding import Finding
from infra.settings import Settings

CHECK_TIMEOUT = 3.0  # seconds of each check; they run at the same time
RUN_TIMEOUT = 10.0  # seconds of a whole run
SHARED_SECONDS = 10.0
# What the secrets of other processes are, and whether somebody compares the topology, is not for
# the console to say.
FOREIGN_CHECKS = frozenset({"management", "secrets"})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DoctorRun:
    """What a run found at ``at`` (UTC); ``trouble`` says why there is nothing."""

    at: datetime
    findings: Sequence[Finding] = ()
    trouble: str = ""


class Doctor:
    """The doctor of the console's process."""

    def __init__(self, settings: Settings) -> None:
        """Check nothing yet."""
        self._settings = settings
        self._running = asyncio.Lock()
        self._newest: DoctorRun | None = None

    async def run(self) -> DoctorRun:
        """Run the checks, or give what a run has found in the last ``SHARED_SECONDS``."""
        async with self._running:
            if self._newest is None or _get_age(self._newest) > SHARED_SECONDS:
                self._newest = await self._examine()
            return self._newest

    async def _examine(self) -> DoctorRun:
        try:
            async with asyncio.timeout(RUN_TIMEOUT):
                findings = await examine(
                    self._settings, CHECK_TIMEOUT, choose_checks(self._settings)
                )
        except TimeoutError:
            return DoctorRun(now(), trouble=f"the checks took longer than {RUN_TIMEOUT:.0f} s")
        return DoctorRun(now(), findings)


def choose_checks(settings: Settings) -> Mapping[str, Check]:
    """Choose the checks that the console can make and judge."""
    if settings.rabbitmq_management_url is not None:
        return {name: check for name, check in CHECKS.items() if name != "secrets"}
    return {name: check for name, check in CHECKS.items() if name not in FOREIGN_CHECKS}


def _get_age(run: DoctorRun) -> float:
    return (now() - run.at).total_seconds()
