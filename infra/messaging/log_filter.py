"""Selects entries of the event log by type, subject, source, id, time and fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from events import EVENT_TYPES
from infra.messaging.event_log import LogEntry
from infra.messaging.log_content import get_type, parse_content

MISSING = object()


class InvalidField(ValueError):
    """A condition on a field is not written as ``path=value``."""


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """A field by its path in the event, and what it has to be: a text or a JSON value."""

    path: tuple[str, ...]
    text: str

    def matches(self, content: Mapping[str, Any]) -> bool:
        """Tell whether an event's field has the value."""
        found: Any = content
        for name in self.path:
            found = _get(found, name)
        if found is MISSING:
            return False
        return found == self.text or _is_equal(found, self.text)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What entries have to be; None and nothing match all.

    ``since`` and ``until`` (aware) are compared with when Adrelay published an event, to the
    second; what other systems have published counts by its place in the log.
    """

    types: tuple[str, ...] = ()
    subject: str | None = None
    source: str | None = None
    event_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    fields: tuple[FieldCondition, ...] = ()

    def matches(self, entry: LogEntry) -> bool:
        """Tell whether an entry is selected; never raises."""
        if not self._is_in_time(entry):
            return False
        attributes = (
            ("subject", self.subject),
            ("source", self.source),
            ("id", self.event_id),
        )
        wanted = [(name, value) for name, value in attributes if value is not None]
        if not (wanted or self.types or self.fields):
            return True
        content = parse_content(entry.delivery)
        if self.types and not self._has_type(get_type(entry.delivery, content)):
            return False
        known = content or {}
        return all(known.get(name) == value for name, value in wanted) and all(
            field.matches(known) for field in self.fields
        )

    def _has_type(self, found: str) -> bool:
        """Compare with each type: the name of an event type is exact, another text a prefix."""
        return any(
            found == wanted if wanted in EVENT_TYPES else found.startswith(wanted)
            for wanted in self.types
        )

    def _is_in_time(self, entry: LogEntry) -> bool:
        if self.since is None and self.until is None:
            return True
        at = entry.published_at
        if at is None:
            return True
        if self.since is not None and at < self.since.replace(microsecond=0):
            return False
        return self.until is None or at <= self.until


def parse_fields(texts: Sequence[str]) -> tuple[FieldCondition, ...]:
    """Parse conditions such as ``data.platform=claude``; raises ``InvalidField``."""
    found = []
    for text in texts:
        path, separator, value = text.partition("=")
        if not separator or not all(path.split(".")):
            raise InvalidField(f"{text[:100]!r} is no condition such as data.platform=claude")
        found.append(FieldCondition(tuple(path.split(".")), value))
    return tuple(found)


def _get(value: object, name: str) -> object:
    """Get a member of an object, or an item of an array by its number."""
    if isinstance(value, Mapping):
        return value.get(name, MISSING)
    if isinstance(value, list) and name.isascii() and name.isdecimal() and int(name) < len(value):
        return value[int(name)]
    return MISSING


def _is_equal(found: object, text: str) -> bool:
    """Compare JSON values; true is not 1."""
    try:
        wanted = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)
