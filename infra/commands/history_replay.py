"""Feeds one queue from the event log again: a dry run, or a replay that can be killed and goes on.

The position of a replay is saved under a name that follows from its options, so the same command
goes on where it was. Two processes of one replay do not both send: the second finds the position
moved on, and ends.
"""

import asyncio
import getpass
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from events import AuditRecorded
from events.audit import AuditRecordedData
from events.envelope import now
from events.sources import DEFAULT_SOURCE
from infra.amqp.publisher import Publisher
from infra.background import BackgroundTasks
from infra.commands.history import HistoryRefused, HistorySession
from infra.commands.history_output import print_counts
from infra.commands.output import format_time, print_error
from infra.errors import PublishFailed
from infra.messaging import outbox
from infra.messaging.decoder import DecodedDelivery
from infra.messaging.log_filter import LogFilter
from infra.messaging.log_range import LogRange, find_range, read_range
from infra.messaging.log_replay import (
    ReplayCounts,
    ReplayRequest,
    build_messages,
    publish_confirmed,
    select_entries,
)
from infra.storage.audit import insert_audit_entries
from infra.storage.engine import open_engine
from infra.storage.log_replays import (
    ReplayPosition,
    advance_replay,
    begin_replay,
    delete_marks,
    end_replay,
    read_replay,
)
from infra.storage.redis import open_redis

MAX_BATCH = 500  # events that are sent at a time
BATCHES_A_SECOND = 4  # of a slow replay, so that it is even
PROGRESS_SECONDS = 2.0  # between two lines
SUBJECT_LENGTH = 200  # characters


@dataclass(frozen=True, slots=True)
class ReplayCommand:
    """What was typed; ``options`` is the text that the replay's name follows from.

    ``select`` makes the filter, with durations before the aware time that it is given.
    """

    queue: str
    options: str
    select: Callable[[datetime], LogFilter]
    rate: int = 1000  # events a second
    handle_again: bool = False
    force: bool = False
    sends: bool = False
    restarts: bool = False

    @property
    def name(self) -> str:
        """Name the replay in ``log_positions``."""
        digest = blake2b(self.options.encode(), digest_size=8).hexdigest()
        return f"replay:{self.queue}:{digest}"

    def request(self, began_at: datetime) -> ReplayRequest:
        """Make the request of a replay that began at an aware time."""
        selected = self.select(began_at)
        return ReplayRequest(self.queue, selected, self.handle_again, self.force)


async def replay(session: HistorySession, command: ReplayCommand) -> bool:
    """Count what a replay would send, or send it; tells whether nothing was refused."""
    engine = open_engine(session.settings)
    try:
        if command.sends:
            return await _replay(session, engine, command)
        return await _count(session, engine, command)
    except SQLAlchemyError as error:
        raise HistoryRefused(f"the database does not answer: {type(error).__name__}") from error
    except PublishFailed as failed:
        raise HistoryRefused(f"it stopped, and the same command goes on: {failed}") from failed
    finally:
        await engine.dispose()


async def _count(session: HistorySession, engine: AsyncEngine, command: ReplayCommand) -> bool:
    """Print what a replay would find, without sending anything."""
    async with engine.connect() as connection:
        begun = await read_replay(connection, command.name)
    at = now() if begun is None or command.restarts else begun.began_at
    request, counts = command.request(at), ReplayCounts()
    wanted = await _find_range(session, request, None if command.restarts else begun)
    first = last = None
    if wanted is not None:
        progress = Progress(wanted)
        async with aclosing(read_range(session.link, wanted, session.timeout)) as batches:
            async for entries in batches:
                async with engine.connect() as tx:
                    await select_entries(tx, entries, request, session.settings, at, counts)
                first, last = first or entries[0], entries[-1]
                progress.show(last.offset, counts)
    print_counts(command.queue, counts, first, last, as_json=session.as_json, sent=False)
    if begun is not None and not command.restarts:
        print_error(f"it has begun already: --yes goes on at offset {begun.next_offset}")
    print_error("nothing was sent: --yes sends it")
    return True


async def _find_range(
    session: HistorySession, request: ReplayRequest, begun: ReplayPosition | None
) -> LogRange | None:
    if begun is not None:
        return LogRange(begun.next_offset, begun.last_offset)
    selected = request.selected
    return await find_range(
        session.link, session.timeout, since=selected.since, until=selected.until
    )


async def _replay(session: HistorySession, engine: AsyncEngine, command: ReplayCommand) -> bool:
    position = await _begin(session, engine, command)
    counts = ReplayCounts()
    if position is not None:
        async with AsyncExitStack() as stack:
            publisher = await stack.enter_async_context(
                Publisher(session.settings, "history", BackgroundTasks())
            )
            await Replay(session, engine, publisher, command, counts).run(position)
        async with engine.begin() as tx:
            await end_replay(tx, command.name, position.began_at)
            outcome = f"{counts.sent} sent"
            await insert_audit_entries(tx, [_audit(command, "history.replay_ended", outcome)])
    print_counts(command.queue, counts, None, None, as_json=session.as_json, sent=True)
    return not counts.objections


async def _begin(
    session: HistorySession, engine: AsyncEngine, command: ReplayCommand
) -> ReplayPosition | None:
    """Find where to go on, or begin and record who did; None where there is nothing to read."""
    async with engine.connect() as connection:
        begun = await read_replay(connection, command.name)
    if begun is not None and not command.restarts:
        print_error(
            f"it goes on at offset {begun.next_offset}, as begun at {format_time(begun.began_at)}"
        )
        return begun
    at = now()
    wanted = await _find_range(session, command.request(at), None)
    first = None
    if wanted is not None and wanted.until is not None:
        first = LogRange(wanted.start, wanted.until)
    if first is None or first.until is None:
        return None
    async with aclosing(read_range(session.link, first, session.timeout, batch=1)) as batches:
        async for entry, *_ in batches:
            position = ReplayPosition(entry.offset, first.until, at)
            async with engine.begin() as tx:
                if begun is not None:
                    await end_replay(tx, command.name, begun.began_at)
                await begin_replay(tx, command.name, position)
                await insert_audit_entries(tx, [_audit(command, "history.replay", "ok")])
            return position
    return None


def _audit(command: ReplayCommand, action: str, outcome: str) -> AuditRecorded:
    """Make the audit entry of what an operator does on the command line."""
    subject = f"{command.queue} {command.options}"[:SUBJECT_LENGTH]
    user = f"command line, {getpass.getuser()}"
    data = AuditRecordedData(action=action, outcome=outcome, subject=subject, device=user)
    return AuditRecorded(source=DEFAULT_SOURCE, data=data)


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay under way."""

    session: HistorySession
    engine: AsyncEngine
    publisher: Publisher
    command: ReplayCommand
    counts: ReplayCounts

    async def run(self, position: ReplayPosition) -> None:
        """Send from ``position`` on to the last offset, no faster than the rate."""
        wanted = LogRange(position.next_offset, position.last_offset)
        request, progress = self.command.request(position.began_at), Progress(wanted)
        size = max(1, min(MAX_BATCH, self.command.rate // BATCHES_A_SECOND))
        due = time.monotonic()
        reading = read_range(self.session.link, wanted, self.session.timeout, batch=size)
        async with aclosing(reading) as batches:
            async for entries in batches:
                async with self.engine.connect() as tx:
                    chosen = await select_entries(
                        tx,
                        entries,
                        request,
                        self.session.settings,
                        position.began_at,
                        self.counts,
                    )
                position = await self._send(position, chosen, entries[-1].offset + 1)
                self.counts.sent += len(chosen)
                progress.show(entries[-1].offset, self.counts)
                due = max(due, time.monotonic() - 1) + len(chosen) / self.command.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _send(
        self, position: ReplayPosition, chosen: list[DecodedDelivery], next_offset: int
    ) -> ReplayPosition:
        """Send a batch, then save the position; to handle again all in one transaction."""
        queue, name = self.command.queue, self.command.name
        messages = build_messages(chosen, queue)
        if not self.command.handle_again:
            await publish_confirmed(self.publisher, messages)
        async with self.engine.begin() as tx:
            if not await advance_replay(tx, name, position, next_offset):
                raise HistoryRefused("another process goes on with this replay")
            if self.command.handle_again:
                keys = [item.key for item in chosen]
                await delete_marks(tx, queue, keys, position.began_at)
                await outbox.add(tx, messages)
        if self.command.handle_again and messages:
            redis = open_redis(self.session.settings)
            await outbox.notify(redis)
            await redis.aclose()
        return replace(position, next_offset=next_offset)


class Progress:
    """Lines on standard error about how far a replay is."""

    def __init__(self, wanted: LogRange) -> None:
        """Begin; the first line comes after ``PROGRESS_SECONDS``."""
        self._last = wanted.until
        self._due = time.monotonic() + PROGRESS_SECONDS

    def show(self, offset: int, counts: ReplayCounts) -> None:
        """Print a line, if it is time for one."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + PROGRESS_SECONDS
        looked_at = sum(counts.found.values())
        print(
            f"at offset {offset}, up to {self._last} at most: {looked_at} for the queue,"
            f" {counts.sent} sent",
            file=sys.stderr,
        )
