"""What surrounds every page: header, strip, navigation with counts, servers, footer."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from aiohttp import web

from infra.version import find_commit, find_release
from workers.ops.alert import AlertList
from workers.ops.csrf import make_csrf_token
from workers.ops.format import format_count, format_duration
from workers.ops.sampler import Sample
from workers.ops.session import ConsoleSession
from workers.ops.source_rows import list_silent

THEME_COOKIE = "adrelay_theme"
THEMES = ("system", "light", "dark")
COMMIT_DIGITS = 7


@dataclass(frozen=True, slots=True)
class NavEntry:
    """A line of the navigation; ``count`` names a value of ``count_badges``."""

    name: str
    path: str
    icon: str
    label: str


NAVIGATION = (
    NavEntry("overview", "/", "overview", "Overview"),
    NavEntry("events", "/events", "events", "Events"),
    NavEntry("dead_letters", "/dead-letters", "letters", "Dead letters"),
    NavEntry("queues", "/queues", "queues", "Queues"),
    NavEntry("webhooks", "/webhooks", "sources", "Webhooks"),
    NavEntry("platforms", "/platforms", "platforms", "Platforms"),
    NavEntry("operations", "/operations", "operations", "Operations"),
    NavEntry("audit", "/audit", "audit", "Audit"),
    NavEntry("settings", "/settings", "settings", "Settings"),
    NavEntry("system", "/system", "system", "System"),
)


@dataclass(frozen=True, slots=True)
class NavBadge:
    """A count beside a line of the navigation: its state, number and what it counts."""

    state: str
    number: str
    meaning: str


@cache
def describe_version() -> tuple[str, str]:
    """Return the release and the short commit, read once for each process."""
    return find_release(), find_commit()[:COMMIT_DIGITS]


def count_badges(sample: Sample) -> dict[str, NavBadge]:
    """Count what differs from normal, by the entry of the navigation."""
    badges = {}
    if sample.dead:
        badges["dead_letters"] = NavBadge("bad", format_count(sample.dead), "open")
    if sample.pauses:
        badges["queues"] = NavBadge("paused", str(len(sample.pauses)), "paused")
    if silent := list_silent(sample.webhooks, sample.at):
        badges["webhooks"] = NavBadge("warn", str(len(silent)), "silent")
    return badges


@dataclass(frozen=True, slots=True)
class AlertStrip:
    """The alerts in the strip: state, text, and more where there is room."""

    state: str
    text: str
    more: str = ""


def describe_alert_strip(alerts: AlertList) -> AlertStrip:
    """Count the alerts that fire by severity; the worst comes first."""
    if not alerts.is_known:
        return AlertStrip("unknown", "Alerts not known", f": {alerts.problem}")
    pages, tickets = alerts.count("page"), alerts.count("ticket")
    told = "1 ticket" if tickets == 1 else f"{tickets} tickets"
    if pages:
        text = "1 page" if pages == 1 else f"{pages} pages"
        return AlertStrip("bad", text, f", {told}" if tickets else "")
    return AlertStrip("warn", told) if tickets else AlertStrip("ok", "No alert fires")


def describe_pauses(sample: Sample) -> str:
    """Name what is paused, and for how long, in one line."""
    if not sample.database:
        return "pauses are not known: Postgres does not answer"
    if not sample.pauses:
        return "nothing is paused"
    named = []
    for pause in sample.pauses:
        name = f"account {pause.account} at {pause.name}" if pause.account else pause.name
        age = format_duration((sample.at - pause.paused_at).total_seconds())
        named.append(f"{name} for {age}")
    return ", ".join(named)


def frame_live(sample: Sample) -> dict[str, str]:
    """Format the live values of the frame."""
    badges, alerts = count_badges(sample), describe_alert_strip(sample.alerts)
    return {
        "frame.alerts": alerts.text,
        "frame.alerts.more": alerts.more,
        "frame.alerts.state": alerts.state,
        "frame.dead": badges["dead_letters"].number if "dead_letters" in badges else "",
        "frame.paused": f"{len(sample.pauses)} paused" if sample.pauses else "",
        "frame.pauses": describe_pauses(sample),
        "frame.at": sample.at.strftime("%H:%M:%S UTC"),
    }


def read_theme(request: web.Request) -> str:
    """Read the theme that the browser has chosen; ``system`` for an unknown one."""
    theme = request.cookies.get(THEME_COOKIE, THEMES[0])
    return theme if theme in THEMES else THEMES[0]


def frame_context(
    request: web.Request, session: ConsoleSession, sample: Sample, page: str
) -> Mapping[str, Any]:
    """Build the context of ``base.html``: ``page`` is the navigation's current entry."""
    release, commit = describe_version()
    return {
        "navigation": NAVIGATION,
        "badges": count_badges(sample),
        "page": page,
        "sample": sample,
        "alerts": describe_alert_strip(sample.alerts),
        "pauses_text": describe_pauses(sample),
        "email": session.content.email,
        "started_at": session.content.started_at,
        "read_only": session.content.read_only,
        "csrf": make_csrf_token(session.id),
        "here": request.path_qs if request.method in {"GET", "HEAD"} else request.path,
        "release": release,
        "commit": commit,
    }
