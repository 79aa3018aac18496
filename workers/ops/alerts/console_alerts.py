"""Judges the console's own rules on each sample, where no Prometheus is configured.

How long something is so is counted from the first sample that shows it: a console that has just
started knows nothing of before, unless the sample says since when.
"""

from collections.abc import Sequence
from datetime import datetime

from workers.ops.alert import Alert, AlertList, find_page, find_runbook, sort_alerts
from workers.ops.alerts.rules import RULES, AlertRule, RuleFinding, find_all
from workers.ops.sampler import Sample

ORIGIN = f"from this console, which judges {len(RULES)} rules: no Prometheus is configured"
NO_DATABASE = "Postgres does not answer"


class ConsoleAlerts:
    """The alerts by the console's own samples."""

    def __init__(self) -> None:
        """Know of nothing yet."""
        self._first_seen: dict[tuple[str, str], datetime] = {}

    def judge(self, history: Sequence[Sample]) -> AlertList:
        """Judge the newest sample; without Postgres the alerts are not known."""
        sample = history[-1]
        if not sample.database:
            return AlertList(origin=ORIGIN, problem=NO_DATABASE)
        found = list(find_all(history))
        self._first_seen = {
            (rule.name, finding.subject): self._find_since(rule, finding, sample.at)
            for rule, finding in found
        }
        return AlertList(sort_alerts(self._list_firing(found, sample.at)), ORIGIN)

    def _find_since(self, rule: AlertRule, finding: RuleFinding, at: datetime) -> datetime:
        return finding.since or self._first_seen.get((rule.name, finding.subject), at)

    def _list_firing(
        self, found: Sequence[tuple[AlertRule, RuleFinding]], at: datetime
    ) -> list[Alert]:
        firing = []
        for rule, finding in found:
            since = self._first_seen[rule.name, finding.subject]
            if (at - since).total_seconds() >= rule.hold:
                labels = {finding.label: finding.subject} if finding.label else {}
                page, runbook = find_page(rule.name, labels), find_runbook(rule.name)
                firing.append(
                    Alert(rule.name, rule.severity, finding.summary, since, page, runbook)
                )
        return firing
