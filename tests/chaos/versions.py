"""Faults that cannot happen on a version of RabbitMQ, with the reason: they are skipped there.

A version stands here only where the fault was tried on it, or the vendor says so.
"""

from dataclasses import dataclass

import pytest

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ImpossibleFault:
    """A fault, the first version on which it cannot happen, and why."""

    fault: str
    since: Version
    reason: str


STALE_RECORD = "cluster: event log without confirms"
PAUSE_OF_A_MINORITY = "cluster: a minority pauses"

IMPOSSIBLE: tuple[ImpossibleFault, ...] = (
    ImpossibleFault(
        STALE_RECORD,
        (3, 12),
        "a publish no longer looks up the leader of a stream in the queue's record "
        "(rabbitmq-server, pull request 9165), and 4.x keeps that record outside of Mnesia, "
        "where the fault is made (tried: 4.0.5)",
    ),
    ImpossibleFault(
        PAUSE_OF_A_MINORITY,
        (4, 3),
        "cluster_partition_handling has no effect: without Mnesia there are no partitions to "
        "handle, and the queues' own majorities decide (tried: 4.3.6)",
    ),
)


def parse_version(text: str) -> Version:
    """Parse a version such as ``3.10.8``; what follows a hyphen or plus sign does not count."""
    numbers = text.replace("+", "-").split("-")[0].split(".")
    return tuple(int(number) for number in numbers)


def find_impossible(fault: str, version: str) -> ImpossibleFault | None:
    """Find the row of a fault that cannot happen on this version; None when it can."""
    found = parse_version(version)
    return next((row for row in IMPOSSIBLE if row.fault == fault and found >= row.since), None)


def skip_where_impossible(fault: str, version: str) -> None:
    """Skip the test of a fault, with the reason, where it cannot happen."""
    row = find_impossible(fault, version)
    if row is not None:
        pytest.skip(f"{fault}, on RabbitMQ {version}: {row.reason}")
