"""An alert that fires, and the list of those that the pages show."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import quote, urlsplit

Severity = Literal["page", "ticket"]
RUNBOOK_NAME = re.compile(r"Adrelay[A-Za-z]{1,60}")

# The console's page about an alert, by its name; in braces a label.
PAGES: Mapping[str, str] = {
    "AdrelayBacklog": "/queues#queue-{queue}",
    "AdrelayBreakerOpen": "/queues#queue-sync.{platform}",
    "AdrelayDeadLetters": "/dead-letters?queue={queue}",
    "AdrelayEffectBudget": "/queues",
    "AdrelayNoConsumer": "/queues#queue-{queue}",
    "AdrelayPaused": "/queues#paused",
    "AdrelayQueueStopped": "/queues#paused",
    "AdrelayRetries": "/queues#queue-{queue}",
    "AdrelayUnwatched": "/queues",
    "AdrelayWebhookSignatures": "/webhooks",
    "AdrelayWebhooksSilent": "/webhooks",
    "AdrelayWebhooksUnrecognised": "/webhooks",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that fires since a time (UTC); ``page`` and ``runbook`` are links, empty: none."""

    name: str
    severity: Severity
    summary: str
    since: datetime
    page: str = ""
    runbook: str = ""


@dataclass(frozen=True, slots=True)
class AlertList:
    """The alerts in the order of their urgency, and where they were looked for.

    ``problem`` says why they are not known; then ``alerts`` is empty and means nothing.
    """

    alerts: tuple[Alert, ...] = ()
    origin: str = ""
    problem: str = ""

    @property
    def is_known(self) -> bool:
        """Whether somebody has looked and could see."""
        return not self.problem

    def count(self, severity: Severity) -> int:
        """Count the alerts of a severity."""
        return sum(alert.severity == severity for alert in self.alerts)


def sort_alerts(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """Put pages before tickets, then the oldest first."""
    return tuple(sorted(alerts, key=lambda one: (one.severity != "page", one.since, one.summary)))


def find_page(name: str, labels: Mapping[str, str]) -> str:
    """Find the console's page about an alert; empty where there is none."""
    quoted = {label: quote(value, safe="") for label, value in labels.items()}
    try:
        return PAGES.get(name, "").format_map(quoted)
    except KeyError:  # its rule has lost that label
        return ""


def find_runbook(name: str, url: str = "") -> str:
    """Find the link to a runbook: the rule's own if it is one for browsers, else the console's."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme in {"http", "https"} and parts.hostname:
        return url
    return f"/runbooks/{name}" if RUNBOOK_NAME.fullmatch(name) else ""
