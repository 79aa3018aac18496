"""The console's routes: one line each. ``{name}`` in a path is a parameter."""

from collections.abc import Mapping
from dataclasses import dataclass

from workers.ops import job_rows
from workers.ops.endpoint import PageFunction
from workers.ops.gate import post_forget, post_logout, post_mode, post_theme
from workers.ops.live import LiveValues
from workers.ops.pages import (
    audit,
    dead_letter,
    dead_letters,
    event,
    events,
    find,
    letter_acts,
    letter_groups,
    letter_jobs,
    operations,
    overview,
    platforms,
    queues,
    runbook,
    settings,
    system,
    webhooks,
)


@dataclass(frozen=True, slots=True)
class ConsoleRoute:
    """A line of the table: method, path, function and the navigation's entry.

    ``is_act`` is false for a POST that a read-only session may send; ``is_part`` is true for a
    part of a page, which the page's script puts into it.
    """

    method: str
    path: str
    function: PageFunction
    entry: str = ""
    is_act: bool = True
    is_part: bool = False


ROUTES: tuple[ConsoleRoute, ...] = (
    ConsoleRoute("GET", "/", overview.show, "overview"),
    ConsoleRoute("GET", "/find", find.show, "events"),
    ConsoleRoute("GET", "/events", events.show, "events"),
    ConsoleRoute("GET", "/events/{id:[^/]+}", event.show, "events"),
    ConsoleRoute("GET", "/dead-letters", dead_letters.show, "dead_letters"),
    ConsoleRoute("GET", "/dead-letters/{id}", dead_letter.show, "dead_letters"),
    ConsoleRoute("POST", "/dead-letters/{id}/edit", letter_acts.post_edit, "dead_letters"),
    ConsoleRoute("POST", "/dead-letters/{id}/replay", letter_acts.post_replay, "dead_letters"),
    ConsoleRoute("POST", "/dead-letters/{id}/discard", letter_acts.post_discard, "dead_letters"),
    ConsoleRoute("POST", "/dead-letters/{id}/undo", letter_acts.post_undo, "dead_letters"),
    ConsoleRoute(
        "POST", "/dead-letters/groups/{group}/note", letter_groups.post_note, "dead_letters"
    ),
    ConsoleRoute("POST", "/dead-letters/jobs", letter_jobs.post_start, "dead_letters"),
    ConsoleRoute("POST", "/dead-letters/jobs/{job}/stop", letter_jobs.post_stop, "dead_letters"),
    ConsoleRoute("POST", "/dead-letters/jobs/{job}/undo", letter_jobs.post_undo, "dead_letters"),
    ConsoleRoute("GET", "/queues", queues.show, "queues"),
    ConsoleRoute("POST", "/queues/pause", queues.post_pause, "queues"),
    ConsoleRoute("POST", "/queues/resume", queues.post_resume, "queues"),
    ConsoleRoute("GET", "/webhooks", webhooks.show, "webhooks"),
    ConsoleRoute("GET", "/runbooks/{name}", runbook.show, "overview"),
    ConsoleRoute("GET", "/platforms", platforms.show, "platforms"),
    ConsoleRoute("POST", "/platforms/pause", platforms.post_pause, "platforms"),
    ConsoleRoute("POST", "/platforms/resume", platforms.post_resume, "platforms"),
    ConsoleRoute("GET", "/operations", operations.show, "operations"),
    ConsoleRoute("GET", "/audit", audit.show, "audit"),
    ConsoleRoute("GET", "/settings", settings.show, "settings"),
    ConsoleRoute("GET", "/system", system.show, "system"),
    ConsoleRoute("GET", "/system/findings", system.show_findings, "system", is_part=True),
    ConsoleRoute("POST", "/forget-input", post_forget, is_act=False),
    ConsoleRoute("POST", "/logout", post_logout, is_act=False),
    ConsoleRoute("POST", "/mode", post_mode, is_act=False),
    ConsoleRoute("POST", "/theme", post_theme, is_act=False),
)

# Live values by page: what ``<body data-live-page>`` names.
LIVE_PAGES: Mapping[str, LiveValues] = {
    "overview": overview.live_values,
    "platforms": platforms.live_values,
    "dead_letters": job_rows.live_values,
    "queues": queues.live_values,
    "webhooks": webhooks.live_values,
}
