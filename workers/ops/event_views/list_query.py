"""Reads the filters of a list from the address: texts, times in UTC, and a cursor."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from workers.ops.event_views.links import build_path, parse_text

TIME_RULE = "Not a time: write 2026-11-29 13:22, in UTC."
DAY_LENGTH = len("2026-11-29")
FIRST, LIMIT = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
EPOCH = FIRST


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What was typed, by the field's name, and what was wrong with it."""

    path: str
    typed: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """Return what was typed; None for nothing."""
        return self.typed.get(name) or None

    def time(self, name: str) -> datetime | None:
        """Return a time that was typed without an error."""
        typed = self.typed.get(name, "")
        return parse_time(typed) if typed and name not in self.errors else None

    def link(self, **changes: str) -> str:
        """Build the path of the same list; from its beginning unless ``after`` is given."""
        return build_path(self.path, **{**self.typed, **changes})


def read_list_query(
    path: str, query: Mapping[str, str], texts: tuple[str, ...], times: tuple[str, ...] = ()
) -> ListQuery:
    """Read the fields with these names; other parameters are ignored."""
    typed = {name: parse_text(query.get(name, "")) for name in (*texts, *times)}
    errors = {name: TIME_RULE for name in times if typed[name] and parse_time(typed[name]) is None}
    return ListQuery(path, typed, errors)


def parse_time(typed: str) -> datetime | None:
    """Parse a time in ISO 8601; one without an offset is UTC. None for what is no time."""
    try:
        found = datetime.fromisoformat(typed.strip().upper())
    except ValueError:
        return None
    aware = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return aware if FIRST + timedelta(days=1) <= aware < LIMIT - timedelta(days=1) else None


def format_micros(when: datetime) -> str:
    """Write a time as microseconds since 1970, for a cursor."""
    return str((when - EPOCH) // timedelta(microseconds=1))


def parse_micros(text: str) -> datetime | None:
    """Parse microseconds since 1970; None for what is no time."""
    if not (text.isascii() and text.isdecimal()) or len(text) > len("9999999999999999"):
        return None
    when = EPOCH + timedelta(microseconds=int(text))
    return when if when < LIMIT else None
