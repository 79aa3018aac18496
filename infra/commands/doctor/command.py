"""Runs every check and prints what was found; nothing is changed, and no secret is printed."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from infra.commands.doctor.broker_checks import (
    check_alarms,
    check_clock,
    check_connection,
    check_log,
    check_management,
    check_message_size,
    check_plugins,
)
from infra.commands.doctor.certificates import check_certificates
from infra.commands.doctor.database_checks import check_database, check_migrations, check_work
from infra.commands.doctor.examination import Check, open_examination, run_checks, worst
from infra.commands.doctor.finding import EXIT_STATUS, Finding, Level
from infra.commands.doctor.redis_checks import check_redis
from infra.commands.doctor.settings_checks import check_settings
from infra.commands.doctor.topology_checks import check_consumers, check_pauses, check_topology
from infra.commands.doctor.versions import judge_libraries
from infra.commands.output import print_json, print_table
from infra.settings import InvalidSettings, Settings, load_settings

CHECKS: Mapping[str, Check] = {
    "settings": check_settings,
    "rabbitmq": check_connection,
    "management": check_management,
    "postgres": check_database,
    "redis": check_redis,
    "migrations": check_migrations,
    "topology": check_topology,
    "consumers": check_consumers,
    "pauses": check_pauses,
    "outbox": check_work,
    "plugins": check_plugins,
    "alarms": check_alarms,
    "clocks": check_clock,
    "message size": check_message_size,
    "event log": check_log,
    "certificates": check_certificates,
}
# Shorter ones would be found in every other word, and protect nothing.
MIN_SECRET_LENGTH = 4
COLUMNS = ("LEVEL", "CHECK", "FOUND", "WHY IT MATTERS", "WHAT TO DO")


async def run(timeout: float, *, as_json: bool) -> int:  # noqa: ASYNC109 - of each check
    """Run the checks; returns the exit status that says the worst (``EXIT_STATUS``)."""
    try:
        settings = load_settings("release")
    except InvalidSettings as error:
        why = "no process starts with it"
        found = [Finding(Level.ERROR, "settings", str(error), why, "adrelay settings lists them")]
        return _report(found, (), as_json=as_json)
    async with open_examination(settings, timeout) as examination:
        findings = [*await run_checks(examination, CHECKS), *judge_libraries()]
    return _report(findings, list_secrets(settings), as_json=as_json)


def list_secrets(settings: Settings) -> list[str]:
    """List every secret of the settings, the longest first: what must not be printed."""
    found: set[str] = set()
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            for word in value.get_secret_value().split():
                if "://" in word:
                    password = urlsplit(word).password or ""
                    found |= {password, unquote(password)}
                else:
                    found.add(word)
    long = (secret for secret in found if len(secret) >= MIN_SECRET_LENGTH)
    return sorted(long, key=len, reverse=True)


def _report(findings: Sequence[Finding], secrets: Sequence[str], *, as_json: bool) -> int:
    pattern = re.compile("|".join(map(re.escape, secrets)) or r"(?!)")
    rows = [
        {
            "level": finding.level.word,
            "check": finding.check,
            **{
                name: pattern.sub("***", getattr(finding, name))
                for name in ("found", "why", "action")
            },
        }
        for finding in findings
    ]
    if as_json:
        for row in rows:
            print_json(row)
    else:
        print_table(COLUMNS, [tuple(row.values()) for row in rows])
    return EXIT_STATUS[worst(findings)]
