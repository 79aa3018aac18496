"""Chooses ports for a directory: derived from its path, kept, and never a well-known one.

A block of sixteen between 16384 and 24575: below the range that systems hand out to clients
(from 32768), above everything that a server of the machine listens on by default, and clear
of RabbitMQ's own 15672, 15692 and 25672. Two checkouts land on different blocks, or the
second one moves on.
"""

import json
import socket
from dataclasses import asdict, dataclass, fields

from infra.deploy.services.directories import ServerDirectory

FIRST = 16_384
BLOCK = 16
BLOCKS = 512


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the servers of a directory, on 127.0.0.1."""

    amqp: int
    management: int
    broker_metrics: int
    epmd: int
    distribution: int
    postgres: int
    redis: int
    prometheus: int


NAMES = tuple(field.name for field in fields(Ports))


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Check whether a server could listen on ``port`` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def is_open(port: int) -> bool:
    """Check whether something listens on ``port`` of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _block(number: int) -> Ports:
    first = FIRST + number % BLOCKS * BLOCK
    return Ports(**{name: first + index for index, name in enumerate(NAMES)})


def kept_ports(directory: ServerDirectory) -> Ports | None:
    """Read the ports chosen at an earlier start."""
    try:
        return Ports(**json.loads((directory.state / "ports.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def choose_ports(directory: ServerDirectory) -> Ports:
    """Choose free ports and keep them; call it only while no server of the directory runs.

    Raises ``RuntimeError`` when no block of ports is free.
    """
    kept = kept_ports(directory)
    start = int(directory.tag, 16)
    candidates = [_block(start + step) for step in range(BLOCKS)]
    for ports in [kept, *candidates] if kept else candidates:
        if all(is_free(port) for port in asdict(ports).values()):
            (directory.state / "ports.json").write_text(json.dumps(asdict(ports)) + "\n")
            return ports
    raise RuntimeError(f"no {len(NAMES)} free ports between {FIRST} and {FIRST + BLOCKS * BLOCK}")
