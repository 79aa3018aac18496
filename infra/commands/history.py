"""Reads the event log: its end, what matches, one entry, all of it into a file.

Memory is bounded by what a connection may hold (``infra.amqp.flow_control``). Of a body larger than
``MAX_EVENT_BYTES`` only the beginning is read.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from infra.amqp.connection import BrokerConnection
from infra.commands import history_output as output
from infra.commands.output import discard_output, print_error, replace_unencodable
from infra.errors import Outage
from infra.messaging.event_log import LogAbsent
from infra.messaging.log_filter import LogFilter
from infra.messaging.log_range import LogRange, find_range, read_range
from infra.messaging.log_tail import find_tail
from infra.settings import Settings, load_settings
from infra.storage.engine import describe_error, open_engine
from infra.storage.event_index import find_by_id

MAX_OFFSET = 2**62
MAX_OFFSETS = 100  # of one id that are looked at


class HistoryRefused(Exception):
    """It was not done, and why, in words for a person."""


@dataclass(frozen=True, slots=True)
class HistorySession:
    """The connection that a command reads the log on, and how it prints."""

    settings: Settings
    link: BrokerConnection
    as_json: bool

    @property
    def timeout(self) -> float:
        """Longest wait for the broker, in seconds."""
        return self.settings.broker_timeout


async def run(command: Callable[[HistorySession], Awaitable[bool]], *, as_json: bool) -> int:
    """Run a command with the workers' user of the broker; returns the exit status."""
    replace_unencodable()
    logging.getLogger().addHandler(logging.NullHandler())  # what fails is printed in a sentence
    settings = load_settings()
    link = BrokerConnection(settings, "history")
    try:
        done = await command(HistorySession(settings, link, as_json))
        output.flush()
    except HistoryRefused as refused:
        print_error(str(refused))
        return 1
    except LogAbsent as absent:
        print_error(f"{absent}. adrelay migrate declares it")
        return 1
    except BrokenPipeError:
        discard_output()
        return 0
    except Outage as outage:
        print_error(f"the event log cannot be read: {outage}")
        return 1
    finally:
        await link.close()
    return 0 if done else 1


async def tail(session: HistorySession, selected: LogFilter, count: int, *, follow: bool) -> bool:
    """Print the last ``count`` matching entries; ``follow`` goes on with what comes."""
    found = await find_tail(session.link, session.timeout, selected, count)
    if found is None and not follow:
        print_error("the event log has no such events")
        return True
    if follow:
        found = LogRange("first" if found is None else found.start, None)
    if found is not None:
        await _print_range(session, selected, found, None if follow else count)
    return True


async def grep(
    session: HistorySession, selected: LogFilter, limit: int | None, *, follow: bool
) -> bool:
    """Print matching entries from the oldest on; tells whether there was one."""
    wanted = await find_range(
        session.link, session.timeout, since=selected.since, until=selected.until
    )
    if follow:
        wanted = LogRange("first" if wanted is None else wanted.start, None)
    printed = 0 if wanted is None else await _print_range(session, selected, wanted, limit)
    if not printed:
        print_error("no event matches")
    return printed > 0


async def _print_range(
    session: HistorySession, selected: LogFilter, wanted: LogRange, limit: int | None
) -> int:
    printed = 0
    async with aclosing(read_range(session.link, wanted, session.timeout)) as batches:
        async for entries in batches:
            for entry in filter(selected.matches, entries):
                if printed == limit:
                    return printed
                if not printed and not session.as_json:
                    output.print_headings()
                output.print_entry(entry, as_json=session.as_json)
                printed += 1
            output.flush()
            if printed == limit:
                break
    return printed


async def show(session: HistorySession, offset: int) -> bool:
    """Print the entry with this offset in full. Raises ``HistoryRefused``."""
    wanted = LogRange(min(offset, MAX_OFFSET), offset)
    async with aclosing(read_range(session.link, wanted, session.timeout)) as batches:
        async for entry, *_ in batches:
            output.print_whole_entry(entry, as_json=session.as_json)
            return True
    held = await find_range(session.link, session.timeout)
    if held is None:
        raise HistoryRefused("the event log is empty")
    raise HistoryRefused(f"the event log has no offset {offset} (any longer, or yet)")


async def show_matching(session: HistorySession, selected: LogFilter) -> bool:
    """Print the first matching entry with an id in full. Raises ``HistoryRefused``.

    The index of the log tells its offset; of one that it does not have, the log is searched.
    """
    for offset in await _find_offsets(session, selected.event_id or ""):
        wanted = LogRange(offset, offset)
        async with aclosing(read_range(session.link, wanted, session.timeout)) as batches:
            async for entries in batches:
                for entry in filter(selected.matches, entries):
                    output.print_whole_entry(entry, as_json=session.as_json)
                    return True
    print_error("the index of the event log does not have it: the log is searched")
    return await _search_log(session, selected)


async def _find_offsets(session: HistorySession, event_id: str) -> list[int]:
    """Find the offsets of an id in the index; none without a database."""
    engine = open_engine(session.settings)
    try:
        async with engine.connect() as tx:
            rows = await find_by_id(tx, event_id, None, MAX_OFFSETS)
    except (SQLAlchemyError, OSError) as error:
        print_error(f"the index of the event log cannot be read: {describe_error(error)}")
        return []
    finally:
        await engine.dispose()
    return [row.log_offset for row in rows]


async def _search_log(session: HistorySession, selected: LogFilter) -> bool:
    wanted = await find_range(
        session.link, session.timeout, since=selected.since, until=selected.until
    )
    if wanted is not None:
        async with aclosing(read_range(session.link, wanted, session.timeout)) as batches:
            async for entries in batches:
                for entry in filter(selected.matches, entries):
                    output.print_whole_entry(entry, as_json=session.as_json)
                    return True
    raise HistoryRefused(f"the event log has no event {selected.event_id} that matches")
