"""Checks of the settings: what they say, without asking a server."""

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from infra.commands.doctor.examination import Examination
from infra.commands.doctor.finding import Finding, Level, ok
from infra.settings import Settings
from infra.settings.rules import parse_duration, to_text
from schemas.types import PLATFORMS

# A webhook without a time counts only while the inbox would know a repetition of it: three weeks
# (``handlers.webhooks.base``).
WEBHOOK_DAYS = 22
KEY_AGE = timedelta(days=365)
PLAIN_SCHEMES = {"amqp": "amqps", "http": "https", "redis": "rediss"}


async def check_settings(examination: Examination) -> list[Finding]:
    """Check values that are valid by themselves and wrong together, or unsafe."""
    settings = examination.settings
    findings = [*_check_days(settings), *_check_transport(settings)]
    return findings or [ok("settings", "every setting is valid, and they fit together")]


async def check_secrets(examination: Examination) -> list[Finding]:
    """Check that the secrets are set without which a process does not start, or refuses webhooks.

    A process has its own secrets alone: it cannot check those of the others.
    """
    found = list(_check_secrets(examination.settings))
    return found or [ok("secrets", "the secrets of the ingress are set")]


def _check_days(settings: Settings) -> Iterator[Finding]:
    log_days = parse_duration(settings.history_max_age) / timedelta(days=1)
    if settings.inbox_days < log_days:
        yield Finding(
            Level.ERROR,
            "settings",
            f"INBOX_DAYS ({settings.inbox_days}) is less than HISTORY_MAX_AGE"
            f" ({settings.history_max_age})",
            "an event that is read from the log again could take effect twice",
            "set INBOX_DAYS to the days of the log or more",
        )
    if settings.inbox_days < WEBHOOK_DAYS:
        yield Finding(
            Level.WARNING,
            "settings",
            f"INBOX_DAYS is {settings.inbox_days}, less than {WEBHOOK_DAYS}",
            "a webhook that is repeated after that time counts again",
            f"set INBOX_DAYS to {WEBHOOK_DAYS} or more",
        )
    if settings.backup_max_age is not None:
        backup_days = parse_duration(settings.backup_max_age) / timedelta(days=1)
        if log_days <= backup_days:
            yield Finding(
                Level.ERROR,
                "settings",
                f"HISTORY_MAX_AGE ({settings.history_max_age}) is not more than BACKUP_MAX_AGE"
                f" ({settings.backup_max_age})",
                "a backup that is put back cannot be brought up to date from the log",
                "keep the log longer, or make backups more often",
            )


def _check_transport(settings: Settings) -> Iterator[Finding]:
    urls = {
        "RABBITMQ_URL": settings.rabbitmq_url,
        "RABBITMQ_MANAGEMENT_URL": settings.rabbitmq_management_url,
        "REDIS_URL": settings.redis_url,
        "PUBLIC_URL": settings.public_url,
    }
    for name, value in urls.items():
        for url in to_text(value).split() if value is not None else ():
            parts = urlsplit(url)
            if parts.scheme in PLAIN_SCHEMES and not _is_local(parts.hostname or ""):
                found = f"{name} uses {parts.scheme}:// to {parts.hostname}"
                why = "passwords and events pass over the network in the clear"
                action = f"use {PLAIN_SCHEMES[parts.scheme]}://, or a network that nobody else sees"
                yield Finding(Level.WARNING, "settings", found, why, action)
    if urlsplit(to_text(settings.rabbitmq_url).split()[0]).username in (None, "guest"):
        found = "RABBITMQ_URL names the user guest, or none"
        why = "its password is known to everybody, and each process has every right"
        action = "make Adrelay's users: adrelay topology export --passwords FILE"
        yield Finding(Level.WARNING, "settings", found, why, action)


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_secrets(settings: Settings) -> Iterator[Finding]:
    for name in PLATFORMS:
        if not settings.platform(name).webhook_secrets:
            variable = f"{name.upper()}_WEBHOOK_SECRET"
            found, why = f"{variable} is empty", f"every webhook of {name} is refused"
            action = f"set {variable}, unless {name} sends none"
            yield Finding(Level.NOTE, "secrets", found, why, action)
    if settings.operation_key is None:
        why = "the ingress does not start without it"
        action = "set it where the ingress runs (adrelay keys generate)"
        yield Finding(Level.NOTE, "secrets", "OPERATION_KEY is not set here", why, action)
