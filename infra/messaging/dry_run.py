"""Tells whether a dead letter would pass now: the steps of its worker before the handler.

    size and JSON -> schema -> authorization -> inbox -> newer data

They are the worker's own functions, on what a replay would send. Nothing is changed, and the
handler is not run. The first failure ends it; the steps behind it are not tried.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import orjson
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import now
from events.sources import WEBHOOK_SOURCE_PREFIX
from infra.errors import Permanent
from infra.messaging.authorization import PublisherAuthorizer, worker_users
from infra.messaging.dead_letter_content import DeadLetterContent
from infra.messaging.decoder import DecodedDelivery
from infra.messaging.headers import USER
from infra.messaging.inbox import find_digest
from infra.messaging.ordering_key import COMMAND_QUEUE
from infra.messaging.replay import decode_letter
from infra.settings import Settings
from infra.storage.newer_commands import describe_newer_change, find_newer_change
from infra.storage.publisher_registry import PublisherRegistry

NAMES = ("Size and JSON", "Schema", "Authorization", "Inbox", "Newer data")
Outcome = Literal["passed", "failed", "not tried"]
CheckStep = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class DryRunCheck:
    """One step, how it ended, and why in words."""

    name: str
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DryRun:
    """The steps in their order."""

    checks: tuple[DryRunCheck, ...]

    @property
    def passes(self) -> bool:
        """Whether no step failed."""
        return all(check.outcome == "passed" for check in self.checks)

    @property
    def failure(self) -> str:
        """Why the letter would not pass; empty if it would."""
        return next((check.detail for check in self.checks if check.outcome == "failed"), "")


class CheckFailed(Exception):
    """A step failed, and why."""


async def run_dry(
    tx: AsyncConnection,
    head: RowMapping,
    content: DeadLetterContent,
    settings: Settings,
    registry: PublisherRegistry,
) -> DryRun:
    """Run the steps on a letter; raises ``Outage`` while publishers cannot be read."""
    run = _LetterRun(tx, head, content, settings, registry)
    steps: tuple[CheckStep, ...] = (
        run.read_body,
        run.decode,
        run.authorize,
        run.look_into_inbox,
        run.find_newer,
    )
    checks: list[DryRunCheck] = []
    failed = False
    for name, step in zip(NAMES, steps, strict=True):
        if failed:
            checks.append(DryRunCheck(name, "not tried"))
            continue
        try:
            checks.append(DryRunCheck(name, "passed", await step()))
        except (CheckFailed, Permanent) as error:
            failed = True
            reason = error.reason if isinstance(error, Permanent) else str(error)
            checks.append(DryRunCheck(name, "failed", reason))
    return DryRun(tuple(checks))


class _LetterRun:
    """The steps, which build on each other."""

    def __init__(
        self,
        tx: AsyncConnection,
        head: RowMapping,
        content: DeadLetterContent,
        settings: Settings,
        registry: PublisherRegistry,
    ) -> None:
        self._tx = tx
        self._head = head
        self._content = content
        self._settings = settings
        self._registry = registry
        self._item: DecodedDelivery | None = None

    async def read_body(self) -> str:
        size, limit = len(self._content.body), self._settings.max_event_bytes
        if self._content.truncated:
            raise CheckFailed("only the beginning of the body is kept: it needs a whole body")
        if size > limit:
            raise CheckFailed(f"the body has {size:,} bytes, the limit is {limit:,}")
        try:
            orjson.loads(self._content.body)
        except (orjson.JSONDecodeError, RecursionError) as error:
            raise CheckFailed(f"the body is no JSON: {error}") from None
        return f"{size:,} of {limit:,} bytes"

    async def decode(self) -> str:
        user = min(worker_users(self._settings))  # a replay comes back as one of theirs
        queue, limit = self._head["queue"], self._settings.max_event_bytes
        self._item = decode_letter(queue, self._content, limit, user)
        return str(self._item.event.type)

    async def authorize(self) -> str:
        item = self._decoded
        authorizer = PublisherAuthorizer(self._head["queue"], self._settings, self._registry)
        allowed, refused = await authorizer.authorize([item])
        if refused:
            raise refused[0][1]
        self._item = allowed[0]
        user = self._content.headers.get(USER)
        return f"{user} may publish this type for {item.event.source}"

    async def look_into_inbox(self) -> str:
        queue, item = self._head["queue"], self._decoded
        digest = await find_digest(self._tx, queue, item.key)
        if digest is not None:
            is_webhook = str(item.event.source).startswith(WEBHOOK_SOURCE_PREFIX)
            if digest == item.digest or is_webhook:
                raise CheckFailed(f"it has taken effect in {queue} before: a replay is dropped")
            raise CheckFailed(
                "its source has used this id for another event (replay with a new id)"
            )
        days, age = self._settings.inbox_days, now() - self._head["first_failed_at"]
        if age > timedelta(days=days):
            raise CheckFailed(f"it is older than the {days} days that the inbox remembers (force)")
        return f"this id is new to {queue}; {days} days are remembered"

    async def find_newer(self) -> str:
        if self._head["queue"] != COMMAND_QUEUE:
            return "it is no command: it overwrites no newer change"
        failed_at = self._head["first_failed_at"]
        change = await find_newer_change(self._tx, self._decoded.event, failed_at)
        if change is not None:
            raise CheckFailed(f"{describe_newer_change(change)} (force)")
        return "no newer change of its campaign has taken effect"

    @property
    def _decoded(self) -> DecodedDelivery:
        if self._item is None:
            raise RuntimeError("the letter is not decoded yet")
        return self._item
