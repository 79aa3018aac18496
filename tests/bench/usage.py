"""What processes use: CPU time, memory and written bytes, read from /proc."""

import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass

import psutil

from infra.deploy.services import postgres, rabbitmq, redis
from infra.deploy.services.daemon import Daemon
from tests.bench.stage import PLACE

SERVERS = {"rabbitmq": rabbitmq.NAME, "postgres": postgres.NAME, "redis": redis.NAME}


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used: wall-clock seconds, CPU seconds and written bytes by name, the machine's CPU.

    ``machine`` counts the CPU seconds of everything that runs on the machine.
    """

    seconds: float
    cpu: Mapping[str, float]
    written: Mapping[str, int]
    machine: float

    def since(self, before: "Usage") -> "Usage":
        """Give what was used after an earlier reading."""
        return Usage(
            self.seconds - before.seconds,
            {name: used - before.cpu[name] for name, used in self.cpu.items()},
            {name: used - before.written[name] for name, used in self.written.items()},
            self.machine - before.machine,
        )


def find_servers() -> dict[str, int]:
    """Find the process ids of the bench's servers; raises ``RuntimeError`` if one has ended."""
    found = {name: Daemon(PLACE, daemon).pid() for name, daemon in SERVERS.items()}
    gone = [name for name, pid in found.items() if pid is None]
    if gone:
        raise RuntimeError(f"not running: {', '.join(gone)}")
    return {name: pid for name, pid in found.items() if pid is not None}


def read_usage(pids: Mapping[str, int]) -> Usage:
    """Read what each process and its children have used until now, ended ones too.

    A child that has a name of its own counts for that alone.
    """
    cpu, written = dict.fromkeys(pids, 0.0), dict.fromkeys(pids, 0)
    for name, pid in pids.items():
        for process in list_tree(pid, {*pids.values()} - {pid}):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                ended = times.children_user + times.children_system
                cpu[name] += times.user + times.system + ended
                written[name] += process.io_counters().write_bytes
    whole = psutil.cpu_times()
    busy = sum(whole) - whole.idle - whole.iowait - whole.guest - whole.guest_nice
    return Usage(time.monotonic(), cpu, written, busy)


def read_memory(pids: Mapping[str, int]) -> dict[str, float]:
    """Read the memory of each process and its children, MiB; what they share is counted once."""
    found = dict.fromkeys(pids, 0.0)
    for name, pid in pids.items():
        for process in list_tree(pid, {*pids.values()} - {pid}):
            with suppress(psutil.NoSuchProcess):
                found[name] += process.memory_full_info().pss / 2**20
    return found


def list_tree(pid: int, without: AbstractSet[int]) -> list[psutil.Process]:
    """List a process and its children, not those of ``without``; empty when it has ended."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        children = [child.pid for child in parent.children() if child.pid not in without]
        return [parent, *(one for child in children for one in list_tree(child, without))]
    return []
