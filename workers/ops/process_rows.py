"""Derives the lines of processes and platform breakers from samples. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.types import PLATFORMS
from workers.ops.format import format_bytes, format_duration
from workers.ops.process_metrics import sum_samples
from workers.ops.processes import ProcessReport
from workers.ops.queue_rows import NOT_KNOWN, write_count

PUSHING = "sync"  # the process whose breakers count: it pushes campaigns
BREAKERS = {0: ("ok", "Closed"), 1: ("warn", "Half-open"), 2: ("bad", "Open")}


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """A process as people read it; ``detail`` says why it is not ready, or what it waits for."""

    name: str
    report: ProcessReport
    icon: str
    word: str
    detail: str
    is_other_version: bool = False

    @property
    def cells(self) -> dict[str, str]:
        """The texts of the line's cells that change, by column."""
        report = self.report
        return {
            "cpu": NOT_KNOWN if report.cpu is None else f"{report.cpu:.0%}",
            "memory": NOT_KNOWN if report.memory is None else format_bytes(report.memory),
            "lag": NOT_KNOWN if report.lag is None else format_duration(report.lag),
            "in_hand": write_count(report.in_hand),
        }


@dataclass(frozen=True, slots=True)
class BreakerRow:
    """The circuit breaker of a platform, as the processes that push there have it."""

    platform: str
    icon: str
    word: str
    detail: str


def build_process_rows(reports: Sequence[ProcessReport]) -> list[ProcessRow]:
    """Build the line of every process; several of one name are numbered."""
    total = Counter(report.name for report in reports)
    main = find_main_version(reports)
    seen: Counter[str] = Counter()
    rows = []
    for report in reports:
        seen[report.name] += 1
        name = f"{report.name}-{seen[report.name]}" if total[report.name] > 1 else report.name
        icon, word, detail = _describe_state(report)
        own = (report.version, report.commit)
        other = report.version is not None and own != main
        rows.append(ProcessRow(name, report, icon, word, detail, other))
    return rows


def find_main_version(reports: Sequence[ProcessReport]) -> tuple[str | None, str | None]:
    """Find the release and commit that most processes run; None where none is known."""
    known = Counter((one.version, one.commit) for one in reports if one.version is not None)
    return known.most_common(1)[0][0] if known else (None, None)


def describe_versions(reports: Sequence[ProcessReport]) -> str:
    """Say how many processes there are, of which version, and how many are not known."""
    version, commit = find_main_version(reports)
    known = [one for one in reports if one.version is not None]
    others = sum((one.version, one.commit) != (version, commit) for one in known)
    parts = [f"{len(reports)} processes"]
    if version is not None:
        parts.append(f"version {version} ({(commit or '')[:7]})")
    if others:
        parts.append(f"{others} of another version")
    if len(known) < len(reports):
        parts.append(f"{len(reports) - len(known)} not known")
    return ", ".join(parts)


def build_breaker_rows(reports: Sequence[ProcessReport]) -> list[BreakerRow]:
    """Build the line of every platform's breaker: the worst that a process has.

    Not known where no process that pushes has answered.
    """
    pushing = [one for one in reports if one.name == PUSHING and not one.trouble]
    rows = []
    for platform in PLATFORMS:
        found = [
            sum_samples(one.samples, "adrelay_breaker_state", platform=platform) for one in pushing
        ]
        states = [int(state) for state in found if state is not None and state in BREAKERS]
        if not states:
            rows.append(BreakerRow(platform, "unknown", "Not known", "no sync process answers"))
            continue
        worst = max(states)
        icon, word = BREAKERS[worst]
        detail = f"in {states.count(worst)} of {len(states)} processes" if worst else ""
        rows.append(BreakerRow(platform, icon, word, detail))
    return rows


def _describe_state(report: ProcessReport) -> tuple[str, str, str]:
    readiness = report.readiness
    if readiness is None:
        return "unknown", "Not known", report.trouble
    if not readiness.ready:
        failed = (f"{name}: {why}" if why else name for name, why in readiness.failed.items())
        return "bad", "Not ready", "; ".join(failed)
    isolating = sum_samples(report.samples, "adrelay_consumer_isolating")
    if isolating:
        return "warn", "Isolating", "takes one message at a time"
    notes = (f"{name} is {note}" for name, note in readiness.notes.items())
    return "ok", "Ready", "; ".join(notes)
