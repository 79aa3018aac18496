"""Lists queues and their states; pauses and resumes queues, platforms and accounts."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.amqp.connection import BrokerConnection
from infra.commands.output import format_time, print_error, print_json, print_table
from infra.errors import Outage
from infra.messaging import outbox
from infra.messaging.pause_commands import (
    PauseRefused,
    pause_target,
    resume_all,
    resume_target,
)
from infra.messaging.queue_counts import QueueCounts, count_queues
from infra.messaging.queue_overview import read_queue_overview
from infra.settings import Settings, load_settings
from infra.storage.database_address import DatabaseUnreachable
from infra.storage.engine import open_engine
from infra.storage.pauses import PauseTarget, find_pause
from infra.storage.redis import open_redis
from schemas.queues import PauseSummary, QueueSummary

COLUMNS = ("QUEUE", "STATE", "READY", "CONSUMERS", "RETRYING", "DEAD", "SINCE", "BY", "REASON")
PAUSE_COLUMNS = ("PAUSED", "SINCE", "BY", "REASON")
NOTIFY_TIMEOUT = 2.0  # seconds


async def run(command: Callable[[AsyncConnection], Awaitable[int]]) -> int:
    """Run a command in a transaction of the database of the settings; returns the exit status."""
    settings = load_settings()
    engine = open_engine(settings)
    try:
        async with engine.begin() as tx:
            return await command(tx)
    except (SQLAlchemyError, OSError) as error:
        print_error(f"the database does not answer: {_describe(error)}")
        return 1
    finally:
        await engine.dispose()


async def list_queues(tx: AsyncConnection, *, as_json: bool) -> int:
    """Print every queue with its state, then the paused platforms and accounts."""
    counts = await _count(load_settings())
    overview = await read_queue_overview(tx, counts)
    if as_json:
        for queue in overview.queues:
            print_json({"kind": "queue", **queue.model_dump()})
        for pause in overview.pauses:
            print_json(pause.model_dump())
        return 0
    print_table(COLUMNS, map(_to_cells, overview.queues))
    if overview.pauses:
        print()
        print_table(PAUSE_COLUMNS, map(_to_pause_cells, overview.pauses))
    return 0


async def pause(
    tx: AsyncConnection, targets: Sequence[PauseTarget], reason: str, *, as_json: bool
) -> int:
    """Pause queues, platforms or accounts; returns 1 when one of them was not."""
    status = 0
    for target in targets:
        try:
            paused = await pause_target(tx, target, reason=reason, paused_by=getpass.getuser())
        except PauseRefused as refused:
            status = _print_refused(target, str(refused), as_json=as_json)
            continue
        held = await find_pause(tx, target)
        by = f"{held.paused_by} since {format_time(held.paused_at)}: {held.reason}" if held else ""
        if not paused:
            status = _print_refused(target, f"{target} is paused by {by}", as_json=as_json)
        elif as_json:
            print_json({"target": str(target), "kind": target.kind, "paused": True})
        else:
            print(f"{target} is paused")
    return status


async def resume(
    tx: AsyncConnection, targets: Sequence[PauseTarget] | None, *, as_json: bool
) -> int:
    """Resume what is paused or stopped, or all for None; returns 1 when something was not."""
    status = 0
    resumed = list(await resume_all(tx)) if targets is None else []
    for target in targets or ():
        try:
            if await resume_target(tx, target):
                resumed.append(target)
            else:
                status = _print_refused(target, f"{target} is not paused", as_json=as_json)
        except PauseRefused as refused:
            status = _print_refused(target, str(refused), as_json=as_json)
    for target in resumed:
        if as_json:
            print_json({"target": str(target), "kind": target.kind, "resumed": True})
        else:
            print(f"{target} is resumed")
    if targets is None and not resumed and not as_json:
        print("nothing is paused")
    return status


async def run_and_wake(command: Callable[[AsyncConnection], Awaitable[int]]) -> int:
    """Run a command like ``run``, then tell the relay that there may be rows in the outbox."""
    status = await run(command)
    redis = open_redis(load_settings())
    try:
        async with asyncio.timeout(NOTIFY_TIMEOUT):
            await outbox.notify(redis)
    except TimeoutError:
        return status
    else:
        return status
    finally:
        await redis.aclose()


def parse_account(text: str) -> PauseTarget | None:
    """Parse ``platform:account id``; None where it is not of that form."""
    platform, colon, account = text.partition(":")
    return PauseTarget("account", platform, account) if colon and platform and account else None


async def _count(settings: Settings) -> QueueCounts:
    """Ask the broker for its counts; says so where it does not answer."""
    link = BrokerConnection(settings, "commands:queues")
    try:
        return await count_queues(link, settings.broker_timeout)
    except Outage as error:
        print_error(f"the counts of the broker are not known: {error}")
        return QueueCounts()
    finally:
        await link.close()


def _print_refused(target: PauseTarget, reason: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"target": str(target), "kind": target.kind, "refused": reason})
    else:
        print_error(reason)
    return 1


def _describe(error: Exception) -> str:
    """Describe an error: what the server said about a session, else only its type."""
    return str(error) if isinstance(error, DatabaseUnreachable) else type(error).__name__


def _to_cells(queue: QueueSummary) -> tuple[str, ...]:
    counts = (queue.ready, queue.consumers, queue.retrying, queue.dead)
    shown = ("-" if count is None else str(count) for count in counts)
    return (queue.name, queue.state, *shown, *_describe_pause(queue.pause))


def _describe_pause(pause: PauseSummary | None) -> tuple[str, str, str]:
    if pause is None:
        return ("", "", "")
    about = {"queue": "", "platform": f"platform {pause.name}: ", "account": ""}[pause.kind]
    version = f" (code version {pause.code_version})" if pause.code_version else ""
    return (format_time(pause.paused_at), pause.paused_by, f"{about}{pause.reason}{version}")


def _to_pause_cells(pause: PauseSummary) -> tuple[str, ...]:
    name = f"account {pause.name}:{pause.account}" if pause.account else f"platform {pause.name}"
    return (name, format_time(pause.paused_at), pause.paused_by, pause.reason)
