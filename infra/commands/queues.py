"""Queues that were stopped: ``python -m infra.commands.queues COMMAND``.

    list [--json]                 the stopped queues, each with its reason and since when
    resume QUEUE... [--json]      let them be read again; ``--all`` means every stopped one

A queue is stopped when most of what it handles fails in our own code
(``infra.messaging.queue_breaker``). Its messages wait and nothing is lost. Exit status 0 done, 1
not stopped or not reachable, 2 usage.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict

import orjson
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.amqp.topology import WORK_QUEUE_NAMES
from infra.settings import load_settings
from infra.storage.engine import DatabaseUnreachable, open_engine
from infra.storage.stopped_queues import StoppedQueue, list_stopped_queues, resume_queue
from schemas.escaping import escape, escape_json


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with 2 when it cannot be understood."""
    parser = argparse.ArgumentParser("python -m infra.commands.queues", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list")
    resuming = commands.add_parser("resume")
    resuming.add_argument("queues", nargs="*", metavar="QUEUE")
    resuming.add_argument("--all", action="store_true")
    for command in (listing, resuming):
        command.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.command == "resume" and bool(asked.queues) == asked.all:
        parser.error("name queues, or --all")
    return asked


async def run(arguments: Sequence[str]) -> int:
    """Do what the command line says, in one transaction; tells the exit status."""
    asked = parse(arguments)
    engine = open_engine(load_settings())
    try:
        async with engine.begin() as tx:
            return await (_list(tx, asked) if asked.command == "list" else _resume(tx, asked))
    except (SQLAlchemyError, OSError) as error:
        print(f"the database does not answer: {_why(error)}", file=sys.stderr)
        return 1
    finally:
        await engine.dispose()


async def _list(tx: AsyncConnection, asked: argparse.Namespace) -> int:
    stops = await list_stopped_queues(tx)
    for stop in stops:
        print(escape_json(orjson.dumps(asdict(stop))).decode() if asked.json else _line(stop))
    if not stops and not asked.json:
        print("no queue is stopped")
    return 0


async def _resume(tx: AsyncConnection, asked: argparse.Namespace) -> int:
    names = [stop.queue for stop in await list_stopped_queues(tx)] if asked.all else asked.queues
    status = 0
    for name in names:
        resumed = await resume_queue(tx, name)
        status = status if resumed else 1
        if asked.json:
            print(orjson.dumps({"queue": name, "resumed": resumed}).decode())
        elif resumed:
            print(f"{name} is read again")
        else:
            known = "is not stopped" if name in WORK_QUEUE_NAMES else "is no queue of Adrelay"
            print(f"{name} {known}", file=sys.stderr)
    return status


def _why(error: Exception) -> str:
    """Name an error: what the server said about a session, else only the kind."""
    return str(error) if isinstance(error, DatabaseUnreachable) else type(error).__name__


def _line(stop: StoppedQueue) -> str:
    since = f"{stop.stopped_at:%Y-%m-%d %H:%M:%S} UTC"
    told = f"{stop.queue}  stopped {since} by {stop.worker} (code {stop.version})"
    return f"{told}: {escape(stop.reason)}"


if __name__ == "__main__":
    raise SystemExit(asyncio.run(run(sys.argv[1:])))
