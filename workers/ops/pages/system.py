"""System: which processes run, whether the broker has its topology, what the doctor finds."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass

from events.envelope import now
from infra.commands.doctor.finding import Finding, Level
from infra.messaging.routing_state import RoutingState, get_routing_state
from infra.version import code_version
from workers.ops.doctor import DoctorRun
from workers.ops.page import Page
from workers.ops.process_rows import build_process_rows, describe_versions
from workers.ops.request import ConsoleRequest

STATES = {Level.OK: "ok", Level.NOTE: "unknown", Level.WARNING: "warn", Level.ERROR: "bad"}
WORDS = {Level.OK: "Fine", Level.NOTE: "Note", Level.WARNING: "Warning", Level.ERROR: "Error"}
WAIT = "wait"  # a parameter: the page waits for the doctor, as browsers without scripts ask for
LATE_SECONDS = 60.0  # after which the relay's check of the topology is old


@dataclass(frozen=True, slots=True)
class ArrangedFindings:
    """The findings of a run as the page shows them: the worst first, in the order of the checks."""

    run: DoctorRun
    wrong: Sequence[Finding]
    fine: Sequence[Finding]
    unseen: Sequence[Finding]
    lede: str


async def show(request: ConsoleRequest) -> Page:
    """Show the page; the doctor's findings follow by themselves, or with ``wait`` at once."""
    routing = await request.read_or_none(get_routing_state)
    waits = WAIT in request.query
    found = arrange_findings(await request.state.doctor.run()) if waits else None
    processes = request.state.sampler.current.processes
    context = {
        "lede": build_lede(routing, found),
        "processes": build_process_rows(processes),
        "versions": describe_versions(processes),
        "routing": routing,
        "is_late": _is_late(routing),
        "found": found,
        "states": STATES,
        "words": WORDS,
        "python": platform.python_version(),
        "code": code_version(),
    }
    return Page("System", "system.html", context)


async def show_findings(request: ConsoleRequest) -> Page:
    """Show what the doctor finds, as a part of the page that the script puts into it."""
    found = arrange_findings(await request.state.doctor.run())
    context = {"found": found, "states": STATES, "words": WORDS}
    return Page("Findings", "system_findings.html", context)


def arrange_findings(run: DoctorRun) -> ArrangedFindings:
    """Divide the findings into what is wrong or to know, what is fine and what was not seen."""
    unseen = [finding for finding in run.findings if not finding.is_checked]
    seen = [finding for finding in run.findings if finding.is_checked]
    wrong = sorted(
        (finding for finding in seen if finding.level is not Level.OK),
        key=lambda finding: -finding.level,
    )
    fine = [finding for finding in seen if finding.level is Level.OK]
    return ArrangedFindings(run, wrong, fine, unseen, _describe(run, wrong, fine, unseen))


def build_lede(routing: RoutingState | None, found: ArrangedFindings | None) -> str:
    """Answer the page's question in one sentence."""
    if routing is None:
        topology = "Whether the topology is complete is not known: Postgres does not answer."
    elif routing.checked_at is None:
        topology = "Whether the topology is complete is not known: the relay has not compared it."
    elif routing.missing:
        topology = f"Of the topology {_number(len(routing.missing), 'part')} cannot be found."
    else:
        topology = "The broker has every part of the topology that events need."
    return topology if found is None else f"{topology} {found.lede}"


def _describe(
    run: DoctorRun,
    wrong: Sequence[Finding],
    fine: Sequence[Finding],
    unseen: Sequence[Finding],
) -> str:
    if run.trouble:
        return f"What the doctor finds is not known: {run.trouble}."
    counts = {level: sum(one.level is level for one in wrong) for level in Level}
    words = ((Level.ERROR, "error"), (Level.WARNING, "warning"), (Level.NOTE, "note"))
    parts = [_number(counts[level], word) for level, word in words if counts[level]]
    said = ", ".join(parts) or "nothing wrong"
    hidden = f"; not made from here: {_number(len(unseen), 'check')}" * bool(unseen)
    return f"The doctor finds {said}; fine: {_number(len(fine), 'finding')}{hidden}."


def _number(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _is_late(routing: RoutingState | None) -> bool:
    if routing is None or routing.checked_at is None:
        return False
    return (now() - routing.checked_at).total_seconds() > LATE_SECONDS
