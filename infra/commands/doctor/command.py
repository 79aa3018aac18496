"""Runs every check and prints what was found; nothing is changed, and no secret is printed."""

from collections.abc import Sequence

from infra.commands.doctor.checks import examine
from infra.commands.doctor.examination import worst
from infra.commands.doctor.finding import EXIT_STATUS, Finding, Level
from infra.commands.output import print_json, print_table
from infra.settings import InvalidSettings, load_settings

COLUMNS = ("LEVEL", "CHECK", "FOUND", "WHY IT MATTERS", "WHAT TO DO")


async def run(timeout: float, *, as_json: bool) -> int:  # noqa: ASYNC109 - of each check
    """Run the checks; returns the exit status that says the worst (``EXIT_STATUS``)."""
    try:
        settings = load_settings("release")
    except InvalidSettings as error:
        why = "no process starts with it"
        found = [Finding(Level.ERROR, "settings", str(error), why, "adrelay settings lists them")]
        return _report(found, as_json=as_json)
    return _report(await examine(settings, timeout), as_json=as_json)


def _report(findings: Sequence[Finding], *, as_json: bool) -> int:
    rows = [
        {
            "level": finding.level.word,
            "check": finding.check,
            "found": finding.found,
            "why": finding.why,
            "action": finding.action,
        }
        for finding in findings
    ]
    if as_json:
        for row in rows:
            print_json(row)
    else:
        print_table(COLUMNS, [tuple(row.values()) for row in rows])
    return EXIT_STATUS[worst(findings)]
