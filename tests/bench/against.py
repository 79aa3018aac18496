"""``make bench AGAINST=commit``: this checkout beside an earlier commit, in pairs.

Both run on the same servers, each in a vhost and a database of its own, one right after the
other; who begins changes with each pair. The peers are not measured. Exit status 1 when a
figure is worse than 3% beyond its own spread; the numbers are in ``bench-against.json``.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from infra.deploy.services.daemon import NotStarted
from infra.deploy.services.directories import CHECKOUT
from tests.bench import pairs, tools
from tests.bench.pairs import Comparison
from tests.bench.results import machine
from tests.bench.stage import PLACE, running, say
from tests.git_worktree import find_python, git, worktree

FILE = CHECKOUT / "bench-against.json"
FOLDER = PLACE.state / "against"
SIDE = Path("tests/bench/side.py")
# Events to consume, or seconds to post: a few seconds for each measurement.
AMOUNTS = {"consume": 30_000, "consume-outbox": 20_000, "webhooks": 3, "events": 3}
PROMPT = 2.0  # seconds in which a side ends by itself
ENDING = 20.0


@dataclass(frozen=True)
class Side:
    """One of the two versions: a process in its checkout that measures it."""

    name: str
    process: "subprocess.Popen[str]"

    def ask(self, section: str, amount: int) -> dict[str, float]:
        """Measure one section; raises ``RuntimeError`` when the process ends instead."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            print(json.dumps({"section": section, "amount": amount}), file=self.process.stdin)
            self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, float]:
        """Wait for its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the {self.name} version could not be measured; its error is above")
        return {name: float(value) for name, value in json.loads(line).items()}


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Check a commit out beside this one, for the length of a block."""
    with worktree(commit, FOLDER / commit[:12]) as folder:
        if not (folder / SIDE.parent / "stage.py").is_file():
            raise RuntimeError(f"{commit[:12]} has no benchmark that could be asked; name a later")
        if not (folder / SIDE).exists():
            # The first version of it measures commits that had none.
            first = git("log", "--diff-filter=A", "--format=%H", "--", str(SIDE)).split()[-1]
            (folder / SIDE).write_text(git("show", f"{first}:{SIDE}") + "\n")
        yield folder


@contextmanager
def open_side(name: str, folder: Path) -> Iterator[Side]:
    """Start the process that measures a version; it ends when its standard input does."""
    with subprocess.Popen(
        [find_python(folder, "dev"), "-m", "tests.bench.side", name, str(PLACE.state)],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        side = Side(name, process)
        try:
            side.answer()
            yield side
        finally:
            _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    """End a side, which ends the program that it measures."""
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(subprocess.TimeoutExpired):
            process.wait(PROMPT if number == signal.SIGINT else ENDING)
        if process.poll() is None:
            process.send_signal(number)


def measure(old: Side, new: Side, sections: Sequence[str], count: int) -> list[Comparison]:
    """Measure ``count`` pairs of each section; an unmeasured one before warms both up."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for number in range(count + 1):
        order = (old, new) if number % 2 else (new, old)
        for section in sections:
            said = {side.name: side.ask(section, AMOUNTS[section]) for side in order}
            if number == 0:
                continue
            for unit in said["new"]:
                both = found.setdefault((section, unit), {"old": [], "new": []})
                for name, figures in said.items():
                    both[name].append(figures[unit])
            shown = ", ".join(
                f"{unit} {said['old'][unit]:,.1f} -> {value:,.1f}"
                for unit, value in said["new"].items()
            )
            say(f"pair {number}/{count} {section}: {shown}  (load {os.getloadavg()[0]:.1f})")
    return [
        Comparison(section, unit, tuple(both["old"]), tuple(both["new"]))
        for (section, unit), both in sorted(found.items())
    ]


def compare(commit: str, sections: Sequence[str], count: int) -> list[Comparison]:
    """Start the servers and both sides, and measure."""
    tools.need("wrk", say)
    with ExitStack() as held:
        held.enter_context(running())
        folder = held.enter_context(checkout(commit))
        say(f"old: {git('log', '-1', '--format=%h %s', commit)}")
        old = held.enter_context(open_side("old", folder))
        new = held.enter_context(open_side("new", CHECKOUT))
        return measure(old, new, sections, count)


def write(commit: str, comparisons: Sequence[Comparison]) -> None:
    """Keep the numbers."""
    rows = [
        {
            "section": found.section,
            "unit": found.unit,
            "old": [round(value, 3) for value in found.old],
            "new": [round(value, 3) for value in found.new],
            "ratio": round(found.ratio, 4),
            "spread": [round(end, 4) for end in found.spread],
            "worse": found.is_worse,
        }
        for found in comparisons
    ]
    new = git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    facts = {"machine": machine(), "old": commit, "new": new, "allowed": pairs.ALLOWED}
    FILE.write_text(json.dumps({**facts, "results": rows}, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.against", description=__doc__)
    parser.add_argument("commit", help="what to compare with")
    parser.add_argument("sections", nargs="*", help=", ".join(AMOUNTS))
    parser.add_argument("--pairs", type=int, default=9, help=f"at least {pairs.FEWEST}")
    asked = parser.parse_intermixed_args()
    if unknown := [name for name in asked.sections if name not in AMOUNTS]:
        parser.error(f"no section {unknown[0]}; there are {', '.join(AMOUNTS)}")
    if asked.pairs < pairs.FEWEST:
        parser.error(f"--pairs: a spread needs at least {pairs.FEWEST}")
    return asked


def main() -> int:
    """Compare, print, and write ``bench-against.json``."""
    asked = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        commit = git("rev-parse", "--verify", "--quiet", f"{asked.commit}^{{commit}}")
    except RuntimeError:
        say(f"there is no commit {asked.commit}; 'git log --oneline' lists them")
        return 2
    try:
        comparisons = compare(commit, asked.sections or tuple(AMOUNTS), asked.pairs)
    except KeyboardInterrupt:
        return 130
    except (NotStarted, RuntimeError) as error:
        say(str(error))
        return 2
    write(commit, comparisons)
    say("\n" + pairs.table(comparisons))
    say(f"\n{time.monotonic() - began:.0f} s; the numbers are in {FILE.name}")
    return 1 if any(found.is_worse for found in comparisons) else 0


if __name__ == "__main__":
    sys.exit(main())
