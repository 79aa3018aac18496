"""What a handler is given beside its events."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from events.envelope import Event
from infra.resources import Resources


@dataclass(frozen=True, slots=True)
class Context:
    """One attempt at one batch.

    ``tx`` is the open transaction that the inbox marks and the returned events are part of.
    ``now`` is the attempt's time (UTC). ``reply(event, answer)`` answers a request after the
    commit, where its sender waits for an answer. ``after_commit(call)`` runs an ``async`` call
    without arguments after the commit, at most once and best effort (for a cache, never for an
    effect). ``arrived(event)`` is when an event was first delivered to this queue (UTC), however
    often it was retried since; a replay by a person is a new arrival. ``note_skipped(count)`` says
    how many of the events were acknowledged without effect.
    """

    resources: Resources
    tx: AsyncConnection
    now: datetime
    reply: Callable[[Event, dict[str, Any]], None]
    after_commit: Callable[[Callable[[], Awaitable[None]]], None]
    arrived: Callable[[Event], datetime]
    note_skipped: Callable[[int], None] = lambda _: None
