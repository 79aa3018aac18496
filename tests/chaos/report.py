"""What a session of chaos has seen: a line while it runs, a table of all faults at the end."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

import pytest

from tests.chaos.invariants import Slowest

SEED = int(os.environ.get("CHAOS_SEED", secrets.randbelow(10**6)))
HEAD = ("fault", "seed", "lasted", "meanwhile", "recovery", "drained")
MILLISECOND = 0.001


@dataclass(frozen=True, slots=True)
class Struck:
    """One fault that was met and left behind; times in seconds.

    ``meanwhile``: until new events took effect although it lasted, where that was asked.
    ``recovery``: from the healing until new events took effect. ``drained``: from the
    healing until nothing was on its way any more.
    """

    fault: str
    seed: int
    lasted: float
    meanwhile: float | None
    recovery: float
    drained: float | None
    slowest: Slowest | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        times = (self.lasted, self.meanwhile, self.recovery, self.drained)
        return (self.fault, str(self.seed), *("" if t is None else f"{t:.1f} s" for t in times))


@dataclass(slots=True)
class Watch:
    """When a fault struck and when it was healed, in seconds of the monotonic clock."""

    began: float = field(default_factory=monotonic)
    healed: float = 0.0

    def heal(self) -> None:
        self.healed = monotonic()


@dataclass(slots=True)
class Report:
    """Every fault of a session; ``say`` writes a line at once, where there is a terminal."""

    write: Callable[[str], None] | None
    struck: list[Struck] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.said.append(line)
        if self.write is not None:
            self.write(line)

    def add(self, struck: Struck) -> None:
        self.struck.append(struck)

    @contextmanager
    def watching(self, fault: str) -> Iterator[Watch]:
        """Time a fault that strikes as the block begins and is left behind when it ends."""
        watch = Watch()
        yield watch
        lasted, recovery = watch.healed - watch.began, monotonic() - watch.healed
        self.add(Struck(fault, SEED, lasted, None, recovery, None))

    def lines(self) -> Iterator[str]:
        """Write the table, and what was the slowest of all."""
        rows = [HEAD, *(struck.cells for struck in self.struck)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
        for name, *rest in rows:
            cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
            yield "  ".join((name.ljust(widths[0]), *cells))
        last = max(self.struck, key=lambda struck: struck.recovery)
        yield f"slowest recovery: {last.recovery:.1f} s after {last.fault!r}"
        checked = [(s.slowest, s.fault) for s in self.struck if s.slowest is not None]
        if checked:
            slowest, fault = max(checked, key=lambda pair: pair[0].seconds)
            took = slowest.seconds / MILLISECOND
            yield f"slowest invariant: {slowest.name}, {took:.0f} ms to check after {fault!r}"


REPORT = pytest.StashKey[Report]()


def report_of(config: pytest.Config) -> Report:
    """Open the session's report, or find it."""
    if REPORT not in config.stash:
        config.stash[REPORT] = Report(_writer(config))
    return config.stash[REPORT]


def _writer(config: pytest.Config) -> Callable[[str], None] | None:
    """Build a function that writes past pytest's capture; a worker of xdist has no terminal."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or capture is None:
        return None

    def write(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.write_line("")
            reporter.write_line(line)

    return write
