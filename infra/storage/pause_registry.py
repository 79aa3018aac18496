"""Keeps the pauses in memory for all consumers of a process, read again at most once a second.

While they cannot be read, the last known ones hold: a database that is gone neither pauses
nor resumes anything.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp.topology import WORK_QUEUES
from infra.errors import Outage
from infra.storage.pauses import PauseRow, PauseTarget, list_pauses

MAX_AGE = 1.0  # seconds after which the table is read again
READ_TIMEOUT = 3.0  # seconds
PLATFORM_QUEUES: Mapping[str, str] = {q.name: q.platform for q in WORK_QUEUES if q.platform}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses and stops at one time."""

    rows: Mapping[PauseTarget, PauseRow] = field(default_factory=dict)

    def find(self, queue: str) -> PauseRow | None:
        """Find why a queue is not to be read: its own pause, its platform's, or a stop."""
        own = self.rows.get(PauseTarget("queue", queue))
        if own is not None and own.code_version is None:
            return own
        platform = PLATFORM_QUEUES.get(queue, "")
        return self.rows.get(PauseTarget("platform", platform)) or own

    def has_paused_accounts(self, platform: str) -> bool:
        """Tell whether any account at a platform is paused."""
        return any(t.kind == "account" and t.name == platform for t in self.rows)

    def is_account_paused(self, platform: str, user_id: object) -> bool:
        """Tell whether the account of a user at a platform is paused."""
        return PauseTarget("account", platform, str(user_id)) in self.rows


class PauseRegistry:
    """The pauses, at most ``max_age`` seconds old while the database answers."""

    def __init__(self, engine: AsyncEngine, *, max_age: float = MAX_AGE) -> None:
        """Read nothing yet."""
        self.max_age = max_age
        self._engine = engine
        self._lock = asyncio.Lock()
        self._tried_at = float("-inf")
        self._known: Pauses | None = None
        self._failure: Outage | None = None

    async def current(self, *, fresh: bool = False) -> Pauses:
        """Give the pauses, read now if ``fresh``; the last known ones while they cannot be read.

        Raises ``Outage`` when they could not be read since the process started.
        """
        clock = asyncio.get_running_loop().time
        async with self._lock:
            if fresh or clock() - self._tried_at >= self.max_age:
                began = clock()
                await self._read()
                self._tried_at = began if self._failure is None else clock()
            if self._known is None:
                raise Outage("the pauses cannot be read") from self._failure
            return self._known

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT), self._engine.connect() as connection:
                rows = await list_pauses(connection)
        except (SQLAlchemyError, OSError) as error:
            if self._failure is None:
                details = {"error": type(error).__name__}
                log.warning("the pauses cannot be read, the last known ones hold", extra=details)
            self._failure = Outage(f"the pauses cannot be read: {type(error).__name__}")
            return
        self._failure = None
        self._known = Pauses({row.target: row for row in rows})
