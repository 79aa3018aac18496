"""Lists and resumes stopped queues.

A queue is stopped when most of what it handles fails in our own code
(``infra.messaging.queue_breaker``). Its messages wait and nothing is lost.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.amqp.topology import WORK_QUEUE_NAMES
from infra.commands.output import format_time, print_error, print_json, print_table
from infra.settings import load_settings
from infra.storage.engine import DatabaseUnreachable, open_engine
from infra.storage.stopped_queues import StoppedQueue, list_stopped_queues, resume_queue

COLUMNS = ("QUEUE", "STOPPED", "WORKER", "CODE VERSION", "REASON")


async def run(command: Callable[[AsyncConnection], Awaitable[int]]) -> int:
    """Run a command in a transaction of the database of the settings; returns the exit status."""
    engine = open_engine(load_settings())
    try:
        async with engine.begin() as tx:
            return await command(tx)
    except (SQLAlchemyError, OSError) as error:
        print_error(f"the database does not answer: {_describe(error)}")
        return 1
    finally:
        await engine.dispose()


async def list_stopped(tx: AsyncConnection, *, as_json: bool) -> int:
    """Print the stopped queues."""
    stops = await list_stopped_queues(tx)
    if as_json:
        for stop in stops:
            print_json(asdict(stop))
    elif stops:
        print_table(COLUMNS, map(_to_cells, stops))
    else:
        print("no queue is stopped")
    return 0


async def resume(tx: AsyncConnection, names: Sequence[str] | None, *, as_json: bool) -> int:
    """Resume the named queues, or all for None; returns 1 when one of them was not stopped."""
    if names is None:
        names = [stop.queue for stop in await list_stopped_queues(tx)]
    status = 0
    for name in names:
        resumed = await resume_queue(tx, name)
        status = status if resumed else 1
        if as_json:
            print_json({"queue": name, "resumed": resumed})
        elif resumed:
            print(f"{name} is read again")
        else:
            known = "is not stopped" if name in WORK_QUEUE_NAMES else "is no queue of Adrelay"
            print_error(f"{name} {known}")
    return status


def _describe(error: Exception) -> str:
    """Describe an error: what the server said about a session, else only its type."""
    return str(error) if isinstance(error, DatabaseUnreachable) else type(error).__name__


def _to_cells(stop: StoppedQueue) -> tuple[str, ...]:
    return (stop.queue, format_time(stop.stopped_at), stop.worker, str(stop.version), stop.reason)
