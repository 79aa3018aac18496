"""``python -m tests.bench``: our speed beside its peers', in interleaved rounds, on this machine.

make bench                    all sections, three rounds
make bench ARGS=consume       one section: consume, costs, ingress, latency, traces
make bench ARGS=capacity      what each route costs, and what two cores take; about five minutes
make bench ARGS="index --rounds 1"   what the event index costs, and how fast it answers
make bench ARGS="console --rounds 1"   how fast the console's pages answer on large tables
make bench ARGS="restore --rounds 1" how fast a database is restored from the event log
make bench ARGS="consume --only adrelay,faststream --rounds 1 --share 0.1"
make bench-full               how it grows: backlog, processes, inbox, event size, memory
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial

import uvloop

from infra import logs
from infra.settings import Settings
from tests.bench import (
    capacity,
    console,
    consume,
    costs,
    growth,
    index,
    ingress,
    latency,
    restore,
    results,
    tools,
    traces,
)
from tests.bench.results import Result
from tests.bench.stage import Stage, open_stage, say, servers

SECTIONS = ("consume", "costs", "ingress", "latency", "traces")
KNOWN = (*SECTIONS, "capacity", "console", "growth", "index", "restore")
OWN = {"capacity", "console", "costs", "index", "restore"}  # without peers
MEASURES = {
    "capacity": (capacity.measure,),
    "costs": (costs.costs,),
    "ingress": ingress.MEASURES,
    "latency": latency.MEASURES,
}
Step = tuple[str, Callable[[Stage], Awaitable[list[Result]]]]


def steps(section: str, share: float) -> Iterator[Step]:
    """List what a round of a section measures."""
    if section == "consume":
        for line in consume.lines():
            fewer = replace(line, events=max(100, int(line.events * share)))
            yield line.name, partial(consume.measure, line=fewer)
    elif section == "traces":
        yield from traces.steps(share)
    elif section == "growth":
        yield from growth.steps(share)
    elif section == "console":
        yield from console.steps(share)
    elif section == "index":
        yield from index.steps(share)
    elif section == "restore":
        yield from restore.steps(share)
    else:
        yield from ((measure.__name__, measure) for measure in MEASURES[section])


async def measure(stage: Stage, asked: argparse.Namespace) -> list[Result]:
    """Run every round of every section; interleaved, so that all meet the same weather."""
    found: list[Result] = []
    only = set(asked.only.split(",")) if asked.only else None
    for section in asked.sections:
        for number in range(1, asked.rounds + 1):
            for name, step in steps(section, asked.share):
                if only is None or name in only:
                    said = await step(stage)
                    found += said
                    numbers = ", ".join(f"{r.value:,.2f} {r.unit}" for r in said)
                    load = os.getloadavg()[0]
                    say(f"{section} {number}/{asked.rounds} {name}: {numbers}  (load {load:.1f})")
    return found


async def bench(
    settings: Settings, asked: argparse.Namespace
) -> tuple[list[Result], dict[str, str]]:
    """Measure on servers that run; gives also their versions."""
    async with open_stage(settings) as stage:
        found = await measure(stage, asked)
        postgres = await stage.database.fetchval("show server_version")
        transport = stage.broker.transport
        rabbitmq = transport.connection.server_properties["version"] if transport else "gone"
        return found, {"postgres": postgres, "rabbitmq": str(rabbitmq)}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sections", nargs="*", type=known, help=", ".join(KNOWN))
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each section")
    parser.add_argument("--share", type=float, default=1.0, help="part of the events")
    parser.add_argument("--only", help="names of lines, separated by commas")
    asked = parser.parse_args()
    asked.sections = asked.sections or SECTIONS
    asked.has_peers = not OWN.issuperset(asked.sections)
    if asked.sections == ["capacity"]:
        asked.rounds = 1
    return asked


def known(section: str) -> str:
    """Accept the name of a section; raises ``ValueError`` for anything else."""
    if section not in KNOWN:
        raise ValueError(section)
    return section


def main() -> int:
    """Measure, print, and write ``bench.json``."""
    asked = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logs.configure_logging("WARNING")
    began = time.monotonic()
    machine = results.machine()
    with servers() as settings:
        if asked.has_peers:
            tools.prepare(say)
        elif "capacity" in asked.sections:
            tools.need("wrk", say)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found, known = runner.run(bench(settings, asked))
    versions = results.versions(known, tools.node_folder()) if asked.has_peers else known
    summaries = results.summarise(found)
    said = results.ratios(summaries)
    say(results.table(summaries))
    say("\n" + ", ".join(f"{name} {value}" for name, value in machine.items()))
    say(", ".join(f"{name} {value}" for name, value in versions.items()) + "\n")
    for line in said:
        say(line)
    results.write({"machine": machine, "versions": versions}, summaries, said)
    say(f"\n{time.monotonic() - began:.0f} s; the numbers are in {results.FILE.name}")
    return int(capacity.is_off(found))


if __name__ == "__main__":
    sys.exit(main())
