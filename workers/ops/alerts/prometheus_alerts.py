"""Reads the alerts that fire from Prometheus (its HTTP API, ``/api/v1/alerts``, ``/api/v1/rules``).

Whatever is wrong with the answer makes the alerts unknown: none is another answer than no answer.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from aiohttp import ClientSession
from pydantic import Field, ValidationError

from infra.backoff import sleep_until
from infra.http.client import HttpFailure, HttpRequest, fetch, open_session
from schemas.escaping import escape
from schemas.types import ExternalCamelCaseModel, ExternalModel
from workers.ops.alert import Alert, AlertList, find_page, find_runbook, sort_alerts
from workers.ops.sampler import Sample

INTERVAL = 2.0  # seconds between two requests
RULES_INTERVAL = 60.0  # seconds between two looks whether the rules are loaded
TIMEOUT = 2.0  # seconds
MAX_BYTES = 512 * 1024  # of an answer
MAX_ALERTS = 100
SUMMARY_LENGTH = 300  # characters
PREFIX = "Adrelay"
PROBED_RULE = "AdrelayNoIngress"
OK = 200
ORIGIN = "from Prometheus"
SILENT = "Prometheus does not answer as expected"
NO_RULES = "this Prometheus has not loaded Adrelay's alert rules"
NOT_YET = "Prometheus has not been asked yet"

log = logging.getLogger(__name__)


class PrometheusAlert(ExternalCamelCaseModel):
    """An alert as Prometheus writes it; its time has nanoseconds and any offset."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str] = Field(default_factory=dict)
    state: str
    active_at: datetime


class _Alerts(ExternalModel):
    alerts: Sequence[PrometheusAlert]


class _AlertsAnswer(ExternalModel):
    data: _Alerts


class _Rule(ExternalModel):
    name: str


class _RuleGroup(ExternalModel):
    rules: Sequence[_Rule]


class _RuleGroups(ExternalModel):
    groups: Sequence[_RuleGroup]


class _RulesAnswer(ExternalModel):
    data: _RuleGroups


class PrometheusAlerts:
    """The newest answer of one Prometheus; ``run`` keeps it current."""

    def __init__(self, url: str) -> None:
        """Ask the server at ``url`` (http or https, perhaps with a user and a path)."""
        self._url = url
        self._current = AlertList(origin=ORIGIN, problem=NOT_YET)
        self._rules_checked_at = -RULES_INTERVAL
        self._has_rules = False

    def judge(self, history: Sequence[Sample]) -> AlertList:  # noqa: ARG002 - Prometheus has judged
        """Return the newest answer."""
        return self._current

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until ``stop`` is set."""
        async with open_session(TIMEOUT) as session:
            while not stop.is_set():
                await self.refresh(session)
                await sleep_until(stop, INTERVAL)

    async def refresh(self, session: ClientSession) -> None:
        """Ask once; the alerts are unknown if there is no usable answer."""
        was = self._current.problem
        try:
            await self._check_rules(session)
            answer = await self._get(session, "/api/v1/alerts")
            alerts = parse_alerts(answer)
        except (HttpFailure, ValidationError) as error:
            self._current = AlertList(origin=ORIGIN, problem=SILENT)
            reason = error.reason if isinstance(error, HttpFailure) else "another format"
        else:
            problem = "" if self._has_rules else NO_RULES
            self._current = AlertList(() if problem else alerts, ORIGIN, problem)
            reason = problem
        if self._current.problem and self._current.problem != was:
            log.warning("alerts are not known", extra={"reason": reason})

    async def _check_rules(self, session: ClientSession) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._rules_checked_at < RULES_INTERVAL and self._has_rules:
            return
        path = f"/api/v1/rules?type=alert&rule_name%5B%5D={PROBED_RULE}"
        answer = _RulesAnswer.model_validate_json(await self._get(session, path))
        names = {rule.name for group in answer.data.groups for rule in group.rules}
        self._has_rules, self._rules_checked_at = PROBED_RULE in names, now

    async def _get(self, session: ClientSession, path: str) -> bytes:
        response = await fetch(session, self._url, HttpRequest("GET", path), max_bytes=MAX_BYTES)
        if response.status != OK:
            raise HttpFailure(f"status {response.status}")
        return response.body


def parse_alerts(answer: bytes) -> tuple[Alert, ...]:
    """Parse an answer of ``/api/v1/alerts``: Adrelay's alerts that fire; pending ones do not.

    Raises ``ValidationError``. A severity that Adrelay does not use counts as a ticket.
    """
    found = _AlertsAnswer.model_validate_json(answer).data.alerts
    firing = [
        _convert(one)
        for one in found
        if one.state == "firing" and one.labels.get("alertname", "").startswith(PREFIX)
    ]
    return sort_alerts(firing)[:MAX_ALERTS]


def _convert(alert: PrometheusAlert) -> Alert:
    name = escape(alert.labels["alertname"], SUMMARY_LENGTH)
    return Alert(
        name=name,
        severity="page" if alert.labels.get("severity") == "page" else "ticket",
        summary=escape(alert.annotations.get("summary") or name, SUMMARY_LENGTH),
        since=_to_utc(alert.active_at),
        page=find_page(name, alert.labels),
        runbook=find_runbook(name, alert.annotations.get("runbook_url", "")),
    )


def _to_utc(when: datetime) -> datetime:
    return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
