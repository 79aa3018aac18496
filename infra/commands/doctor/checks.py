"""Runs every check of the doctor; nothing is changed, and no finding holds a secret."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from infra.commands.doctor.examination import Check, open_examination, run_checks
from infra.commands.doctor.finding import Finding
from infra.commands.doctor.redis_checks import check_redis
from infra.commands.doctor.settings_checks import check_secrets, check_settings
from infra.commands.doctor.topology_checks import check_consumers, check_pauses, check_topology
from infra.commands.doctor.versions import judge_libraries
from infra.settings import Settings

CHECKS: Mapping[str, Check] = {
    "settings": check_settings,
    "secrets": check_secrets,
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


async def examine(
    settings: Settings,
    timeout: float,  # noqa: ASYNC109 - of each check
    checks: Mapping[str, Check] = CHECKS,
) -> list[Finding]:
    """Run checks, each for ``timeout`` seconds at most, and judge the libraries of this process."""
    async with open_examination(settings, timeout) as examination:
        findings = [*await run_checks(examination, checks), *judge_libraries()]
    return hide_secrets(findings, list_secrets(settings))


def hide_secrets(findings: Sequence[Finding], secrets: Sequence[str]) -> list[Finding]:
    """Replace every secret in the texts of findings by ``***``."""
    pattern = re.compile("|".join(map(re.escape, secrets)) or r"(?!)")
    return [
        replace(
            finding,
            found=pattern.sub("***", finding.found),
            why=pattern.sub("***", finding.why),
            action=pattern.sub("***", finding.action),
        )
        for finding in findings
    ]


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
