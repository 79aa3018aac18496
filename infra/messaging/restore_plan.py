"""Decides where a restore from the event log begins and ends, or why it cannot be done."""

import asyncio
import socket
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from events import AuditRecorded
from events.audit import AuditRecordedData
from events.sources import AUTH_SOURCE
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.amqp.message import build_message
from infra.errors import Outage
from infra.messaging.event_log import LogEntry, read_log
from infra.messaging.log_marker import find_last, is_another_log
from infra.messaging.log_restore import READER
from infra.messaging.queue_counts import count_queues
from infra.resources import Resources
from infra.storage.audit import insert_audit_entries
from infra.storage.log_marks import LogMark, read_latest_mark
from infra.storage.log_positions import read_position

LOOK_INTERVAL = 0.5  # seconds
ACTION = "database.restore"  # in the audit log


class RestoreRefused(Exception):
    """The restore cannot be done; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """The part of the log to restore: from the offset ``start`` to about ``end``.

    ``missing`` events before ``start`` are no longer in the log. ``is_continued``: an earlier
    restore did not come to its end.
    """

    mark: LogMark
    start: int
    end: int
    missing: int
    is_continued: bool

    @property
    def events(self) -> int:
        """About how many events are read."""
        return max(0, self.end - self.start)


async def make_plan(
    engine: AsyncEngine,
    link: BrokerConnection,
    limit: float,
    *,
    accept_gap: bool,
) -> RestorePlan:
    """Plan a restore by the latest mark, or by the position of one that did not come to its end.

    ``limit`` bounds each wait for the broker, in seconds. With ``accept_gap`` events that are no
    longer in the log are left out. Raises ``RestoreRefused``, ``Outage`` or what SQLAlchemy raises.
    """
    async with engine.connect() as connection:
        mark = await read_latest_mark(connection)
        position = await read_position(connection, READER)
    if mark is None:
        raise RestoreRefused(
            "this database has no mark of the event log, so nobody knows what it lacks: it was"
            " never used, or is from a release without marks"
        )
    first = await _find_first(link, limit)
    last = None if first is None else await find_last(link, limit)
    if first is None or last is None or is_another_log(mark, last):
        if not accept_gap:
            raise RestoreRefused(_describe_other_log(mark, last))
        start = 0 if first is None else first.offset
        return RestorePlan(mark, start, start if last is None else last + 1, 0, False)  # noqa: FBT003 - the fields are named above
    start = mark.settled_offset if position is None else max(mark.settled_offset, position)
    missing = max(0, first.offset - start)
    if missing and not accept_gap:
        raise RestoreRefused(_describe_gap(first, mark, missing))
    return RestorePlan(mark, start + missing, last + 1, missing, position is not None)


async def wait_until_unread(link: BrokerConnection, limit: float, seconds: float) -> list[str]:
    """Wait until no work queue has a consumer; gives those that have one after ``seconds``.

    Raises ``Outage``.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while True:
        counts = (await count_queues(link, limit)).by_queue
        read = [name for name in topology.WORK_QUEUE_NAMES if counts[name].consumers]
        if not read or clock() > until:
            return read
        await asyncio.sleep(LOOK_INTERVAL)


async def mark_start(resources: Resources, link: BrokerConnection, after: int) -> int:
    """Write into the log, and the audit log, that a restore begins; gives the offset of that.

    What workers have taken from their queues before stands before it. ``after`` is an offset that
    the log had reached before: other events may follow at once, so its last chunk may be a later
    one. Raises ``Outage`` or what SQLAlchemy raises.
    """
    data = AuditRecordedData(action=ACTION, outcome="ok", device=socket.gethostname()[:200])
    begun = AuditRecorded(source=AUTH_SOURCE, data=data)
    async with resources.engine.begin() as tx:
        await insert_audit_entries(tx, [begun])
    (error,) = await resources.publisher.publish_all([build_message(begun)])
    if error is not None:
        raise Outage(f"the event log takes nothing: {error}")
    reading = read_log(link, after, timeout=resources.settings.broker_timeout)
    async with aclosing(reading) as batches:
        async for batch in batches:
            for entry in batch:
                if entry.delivery.message_id == begun.id:
                    return entry.offset
    raise Outage("the event log does not have what was published to it")


async def _find_first(link: BrokerConnection, limit: float) -> LogEntry | None:
    async with aclosing(read_log(link, "first", timeout=limit)) as batches:
        async for batch in batches:
            return batch[0]
    return None


def _describe_other_log(mark: LogMark, last: int | None) -> str:
    found = "is empty" if last is None else f"ends near offset {last}"
    return (
        f"the event log {found}, but at {_write(mark.marked_at)} it ended at offset"
        f" {mark.end_offset}: it is not the log of this database (--accept-gap restores from"
        " what there is)"
    )


def _describe_gap(first: LogEntry, mark: LogMark, missing: int) -> str:
    published = first.published_at
    since = "" if published is None else f", published at {_write(published)}"
    return (
        f"the event log begins at offset {first.offset}{since}: {missing} events before it are"
        f" needed and gone; the mark of {_write(mark.marked_at)} needs those from offset"
        f" {first.offset - missing} on (--accept-gap restores without them)"
    )


def _write(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
