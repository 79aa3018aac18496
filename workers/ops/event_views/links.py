"""Paths of the pages of events, and the text that a visitor typed to find one."""

from urllib.parse import quote, urlencode

from events.sources import API_SOURCE
from schemas.events import TrackedEvent

MAX_TEXT = 255  # characters of a text in the event index
DOTS = frozenset({"", ".", ".."})  # a browser resolves these in a path


def build_path(path: str, **parameters: str | None) -> str:
    """Build a path with those parameters that have a value; ``since`` is written ``from``."""
    given = {name.rstrip("_"): value for name, value in parameters.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def event_path(event_id: str | None, source: str = "", view: str = "") -> str:
    """Build the path of an event's page; "" where an id cannot be part of a path."""
    if event_id is None or event_id in DOTS:
        return ""
    return build_path(f"/events/{quote(event_id, safe='')}", source=source, view=view)


def operation_path(operation_id: str) -> str:
    """Build the path of the event that carries an operation."""
    return event_path(operation_id, API_SOURCE)


def tracked_path(event: TrackedEvent) -> str:
    """Build the path of a tracked event's page."""
    return event_path(event.id, event.source)


def parse_text(typed: str) -> str:
    """Parse a name as the index writes it: no NUL, no lone surrogate, bounded."""
    text = typed.strip()[:MAX_TEXT].replace("\0", "\\0")[:MAX_TEXT]
    return text.encode(errors="replace").decode()
