"""Versions of servers and libraries with known faults: what happens, and what to do.

A range holds its first version and not its last. The sources are issues and pull requests of
rabbitmq-server (their numbers are named), release notes, and advisories of the libraries.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from infra.amqp.client_library import UntestedClientLibrary, check_version
from infra.commands.doctor.finding import Finding, Level, ok

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KnownFault:
    """A fault of a product from version ``first`` on, gone with ``fixed``.

    ``in_clusters``: of a single server it is only a note.
    """

    product: str
    first: str
    fixed: str
    level: Level
    happens: str
    action: str
    in_clusters: bool = False


RABBITMQ, POSTGRES, REDIS = "RabbitMQ", "Postgres", "Redis"
KNOWN_FAULTS: tuple[KnownFault, ...] = (
    KnownFault(
        RABBITMQ, "0", "3.10", Level.ERROR,
        "dead-lettering at least once does not exist: what waits for a retry may be lost",
        "upgrade to 3.13, or to 4.x",
    ),
    KnownFault(
        RABBITMQ, "3.10", "3.10.9", Level.NOTE,
        "consuming again with a tag that was cancelled breaks the connection (5927); Adrelay takes"
        " new tags, other clients may not",
        "upgrade when you can",
    ),
    KnownFault(
        RABBITMQ, "3.10", "3.10.20", Level.WARNING,
        "dead-lettering at least once may stop after changes of the cluster (7677)",
        "upgrade to 3.10.20 or later",
        in_clusters=True,
    ),
    KnownFault(
        RABBITMQ, "3.10", "3.11", Level.WARNING,
        "after a lost majority the event log may confirm only the first publishes of each channel"
        " (6179, 9165)",
        "upgrade; docs/operator.md says under AdrelayOutboxStuck how to mend it",
        in_clusters=True,
    ),
    KnownFault(
        RABBITMQ, "3.13", "3.13.3", Level.WARNING,
        "messages that were dead-lettered twice may be taken for a cycle and dropped (11159)",
        "upgrade to 3.13.3 or later",
    ),
    KnownFault(
        RABBITMQ, "4.0", "4.1.4", Level.WARNING,
        "an import applies topic permissions before exchanges; with Khepri the broker can then"
        " never declare those exchanges (14407)",
        "import in two steps (adrelay topology export --part resources, then --part permissions),"
        " or upgrade to 4.1.4",
    ),
    KnownFault(
        RABBITMQ, "4.2.6", "4.2.7", Level.WARNING,
        "a queue is counted only for who may declare it (16272): the relay's gauges stay empty",
        "upgrade",
    ),
    KnownFault(
        RABBITMQ, "4.3.0", "4.3.1", Level.WARNING,
        "a queue is counted only for who may declare it (16272): the relay's gauges stay empty",
        "upgrade",
    ),
    KnownFault(
        RABBITMQ, "4.3.0", "4.3.3", Level.WARNING,
        "dead-lettering at least once may be stuck after changes of the cluster (16652)",
        "upgrade to 4.3.3 or later",
        in_clusters=True,
    ),
    KnownFault(
        RABBITMQ, "4.3.0", "4.3.7", Level.NOTE,
        "queues with a single active consumer stand still for ever after a consumer timeout"
        " (17317); Adrelay has none, other systems may",
        "upgrade to 4.3.7 or later",
    ),
    KnownFault(
        POSTGRES, "0", "14", Level.WARNING,
        "the PostgreSQL project no longer mends this version", "upgrade",
    ),
    KnownFault(
        REDIS, "0", "6.2", Level.WARNING,
        "this version is no longer mended, and Adrelay is not tested with it", "upgrade",
    ),
    KnownFault(
        "aiohttp", "0", "3.14.4", Level.ERROR,
        "requests can be smuggled and memory exhausted (PYSEC-2026-4392, CVE-2026-54273,"
        " CVE-2026-47265)",
        "install what requirements/run.txt names",
    ),
    KnownFault(
        "orjson", "0", "3.9.15", Level.ERROR,
        "deeply nested JSON ends the process (CVE-2024-27454)",
        "install what requirements/run.txt names",
    ),
    KnownFault(
        "Python", "0", "3.11", Level.ERROR,
        "Adrelay needs Python 3.11", "upgrade",
    ),
)  # fmt: skip
LIBRARIES = (
    "aiohttp",
    "aio-pika",
    "aiormq",
    "asyncpg",
    "orjson",
    "pydantic",
    "redis",
    "sqlalchemy",
)


def judge_version(product: str, text: str, *, in_cluster: bool = False) -> Iterator[Finding]:
    """Compare a version with the table; ``text`` begins with its numbers."""
    found = parse_version(text)
    faults = [
        fault
        for fault in KNOWN_FAULTS
        if fault.product == product
        and parse_version(fault.first) <= found < parse_version(fault.fixed)
    ]
    for fault in faults:
        is_mild = fault.in_clusters and not in_cluster
        level = Level.NOTE if is_mild else fault.level
        why = f"{fault.happens}{' (in clusters)' if is_mild else ''}"
        yield Finding(level, "versions", f"{product} {text}", why, fault.action)
    if not faults:
        yield ok("versions", f"{product} {text}: no known fault")


def judge_libraries() -> Iterator[Finding]:
    """Compare Python and the installed libraries with the table and with what was tested."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield from judge_version("Python", python)
    fine = []
    for name in LIBRARIES:
        for finding in judge_version(name, version(name)):
            if finding.level is Level.OK:
                fine.append(f"{name} {version(name)}")
            else:
                yield finding
    yield ok("versions", f"no known fault: {', '.join(fine)}")
    try:
        check_version()
    except UntestedClientLibrary as error:
        why = "it could confirm the wrong message without an error"
        yield Finding(Level.ERROR, "versions", str(error), why, "install requirements/run.txt")
    yield from _judge_parser()


def _judge_parser() -> Iterator[Finding]:
    from aiohttp import http_parser

    if http_parser.HttpRequestParser.__module__ != "aiohttp._http_parser":
        found = "aiohttp has no parser in C"
        why = "the one in Python had faults by which requests are smuggled; the ingress refuses it"
        yield Finding(Level.ERROR, "versions", found, why, "install aiohttp's wheel")


def parse_version(text: str) -> Version:
    """Read the numbers at the beginning of a version, three of them at least."""
    match = re.match(r"\d+(\.\d+)*", text)
    numbers = tuple(map(int, match[0].split("."))) if match else ()
    return numbers + (0,) * (3 - len(numbers))
