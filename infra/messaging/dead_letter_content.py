"""What a dead letter says, and how a person changes it: body, attributes, properties.

In structured mode the body is the event. In binary mode (CloudEvents AMQP binding, section 3.1)
the body is ``data`` alone, and the attributes are headers such as ``cloudEvents_id``. A change
names a field of the *event* (``data.clicks``, ``id``), so it is the same in both modes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from events import EVENT_TYPES
from infra.amqp.message import MAX_SHORT_STRING
from infra.messaging.content_mode import PREFIXES, is_format, prefixes_of
from infra.messaging.kept_headers import MAX_BYTES, MAX_HEADERS, MAX_VALUE_BYTES

HEADER = re.compile(r"((cloudEvents[_:]|ce-)[a-z0-9]{1,40}|traceparent|tracestate)", re.ASCII)
PROPERTIES = ("content_type", "type", "correlation_id", "routing_key")
ATTRIBUTES = frozenset(name for event in EVENT_TYPES.values() for name in event.model_fields) - {
    "data"
}
TRUNCATED = ("body_truncated", "body_length", "body_sha256")  # of a body that was filed in part


class InvalidChange(ValueError):
    """A change that cannot be made: ``field`` is what was asked for, ``rule`` why it is not."""

    def __init__(self, field: str, rule: str) -> None:
        """Keep both, in words for a person."""
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


@dataclass(frozen=True, slots=True)
class DeadLetterContent:
    """The part of a letter that is sent again: ``properties`` as they are filed."""

    body: bytes
    properties: Mapping[str, Any]
    routing_key: str

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that come along."""
        found: Mapping[str, str] = self.properties["headers"]
        return found

    @property
    def binary(self) -> bool:
        """Whether the attributes are headers; as ``Delivery.attributes`` sees it."""
        structured = is_format(str(self.properties["content_type"] or ""))
        return not structured and bool(prefixes_of(self.headers))

    @property
    def truncated(self) -> bool:
        """Whether only the beginning of the body was filed."""
        return bool(self.properties.get("body_truncated"))

    def with_headers(self, headers: Mapping[str, str]) -> "DeadLetterContent":
        """Put other headers in place of these."""
        return replace(self, properties={**self.properties, "headers": dict(headers)})


@dataclass(frozen=True, slots=True)
class Changes:
    """What a person wants changed; a header, property or attribute that is None is removed."""

    fields: Mapping[str, Any] = field(default_factory=dict)  # by dotted path: data.clicks
    removed: Sequence[tuple[str, ...]] = ()  # paths of fields: ("data", "clicks")
    body: bytes | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    properties: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def touch_body(self) -> bool:
        """Whether they may change the body; else it need not be read."""
        return self.body is not None or bool(self.fields) or bool(self.removed)


def apply_changes(
    content: DeadLetterContent, changes: Changes, max_bytes: int
) -> DeadLetterContent:
    """Make the changes; raises ``InvalidChange`` where one of them cannot be made.

    ``max_bytes`` is the largest body that is accepted again.
    """
    for name, value in changes.properties.items():
        content = _with_property(content, name, value)
    for name, value in changes.headers.items():
        content = _with_header(content, "headers", name, value)
    if changes.body is not None:
        kept = {n: v for n, v in content.properties.items() if n not in TRUNCATED}
        content = replace(content, body=changes.body, properties=kept)
    if changes.fields:
        content = _with_fields(content, changes.fields)
    for path in changes.removed:
        content = _without_field(content, path)
    if changes.touch_body and len(content.body) > max_bytes:
        what = "body" if changes.body is not None else "changes"
        raise InvalidChange(
            what, f"the body would have {len(content.body)} bytes, the limit is {max_bytes}"
        )
    return content


def with_id(content: DeadLetterContent, event_id: str) -> DeadLetterContent:
    """Give the event another id, where its mode has it; raises ``InvalidChange``."""
    if content.binary:
        return _with_attribute(content, "id", event_id)
    return replace(content, body=_write({**_object(content, "id"), "id": event_id}))


def set_path(document: Any, path: str, value: object) -> None:  # noqa: ANN401 - any JSON
    """Set a field of a JSON object by its dotted path; raises ``InvalidChange``."""
    *parents, name = path.split(".")
    place = document
    for parent in parents:
        place = place.get(parent) if isinstance(place, dict) else None
    if not isinstance(place, dict) or not name:
        raise InvalidChange("changes", f"{path[:200]!r} names no field of the event")
    place[name] = value


def _with_fields(content: DeadLetterContent, fields: Mapping[str, Any]) -> DeadLetterContent:
    """Set fields of the event, wherever the letter's mode keeps them."""
    inside: dict[str, Any] = {}
    binary = content.binary
    for path, value in fields.items():
        if not binary:
            inside[path] = value
        elif path == "data":
            content = replace(content, body=_write(value))
        elif path.startswith("data."):
            inside[path.removeprefix("data.")] = value
        elif path in ATTRIBUTES or _names_of(content, path):
            content = _with_attribute(content, path, _as_attribute(path, value))
        else:
            raise InvalidChange(
                "changes",
                f"{path[:200]!r} is no attribute of this event in binary mode: fields of its data"
                " begin with data., other attributes are headers (cloudEvents_...)",
            )
    if not inside:
        return content
    document = _object(content, "changes")
    for path, value in inside.items():
        set_path(document, path, value)
    return replace(content, body=_write(document))


def _without_field(content: DeadLetterContent, path: tuple[str, ...]) -> DeadLetterContent:
    """Remove a field of the event; one that is not there stays away."""
    if content.binary and path[0] != "data":
        return _with_attribute(content, path[0], None) if len(path) == 1 else content
    *parents, name = path[1:] if content.binary else path
    document = place = _object(content, "changes")
    for parent in parents:
        found = place.get(parent)
        if not isinstance(found, dict):
            return content
        place = found
    place.pop(name, None)
    return replace(content, body=_write(document))


def _with_attribute(content: DeadLetterContent, name: str, value: str | None) -> DeadLetterContent:
    for header in _names_of(content, name) or (_prefix(content) + name,):
        content = _with_header(content, "changes", header, value)
    return content


def _names_of(content: DeadLetterContent, attribute: str) -> tuple[str, ...]:
    """Name the headers that hold an attribute; a sender may have used either prefix."""
    names = (prefix + attribute for prefix in prefixes_of(content.headers))
    return tuple(name for name in names if name in content.headers)


def _prefix(content: DeadLetterContent) -> str:
    """Tell which of the prefixes the letter's headers have."""
    prefixes = prefixes_of(content.headers)
    found = (p for name in content.headers for p in prefixes if name.startswith(p))
    return next(found, PREFIXES[0])


def _with_header(
    content: DeadLetterContent, what: str, name: str, value: str | None
) -> DeadLetterContent:
    if not HEADER.fullmatch(name):
        rule = f"{name[:200]!r}: only cloudEvents_<attribute>, cloudEvents:<attribute>,"
        again = "ce-<attribute>, traceparent and tracestate are sent again"
        raise InvalidChange(what, f"{rule} {again}")
    headers = {n: v for n, v in content.headers.items() if n != name}
    if value is not None:
        _check_text(what, name, value, MAX_VALUE_BYTES)
        headers[name] = value
    if _size(headers) > max(MAX_BYTES, _size(content.headers)):
        raise InvalidChange(what, f"all headers together may have {MAX_BYTES} bytes")
    if len(headers) > max(MAX_HEADERS, len(content.headers)):
        raise InvalidChange(what, f"there may be {MAX_HEADERS} headers")
    return content.with_headers(headers)


def _size(headers: Mapping[str, str]) -> int:
    return sum(len(name.encode()) + len(str(value).encode()) for name, value in headers.items())


def _with_property(content: DeadLetterContent, name: str, value: str | None) -> DeadLetterContent:
    if name not in PROPERTIES:
        known = ", ".join(PROPERTIES)
        raise InvalidChange("properties", f"{name[:200]!r} is none of {known}")
    if value is not None:
        _check_text("properties", name, value, MAX_SHORT_STRING)
    if name == "routing_key":
        if value is None:
            raise InvalidChange("properties", "'routing_key' cannot be removed")
        return replace(content, routing_key=value)
    return replace(content, properties={**content.properties, name: value or ""})


def _check_text(what: str, name: str, value: str, most: int) -> None:
    try:
        length = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidChange(what, f"{name!r} is not UTF-8") from None
    if not 0 < length <= most:
        raise InvalidChange(what, f"{name!r} must have 1 to {most} bytes, and has {length}")
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in value):  # noqa: PLR2004 - C0, DEL, C1
        raise InvalidChange(what, f"{name!r} may have no control characters")


def _as_attribute(name: str, value: object) -> str | None:
    """Write a JSON value as an attribute's text (CloudEvents 1.0, section 3: type system)."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return orjson.dumps(value).decode()
    raise InvalidChange("changes", f"{name!r} is an attribute: it must be text")


def _object(content: DeadLetterContent, what: str) -> dict[str, Any]:
    if content.truncated:
        length, kept = content.properties.get("body_length"), len(content.body)
        raise InvalidChange(
            what, f"only the first {kept} of {length} bytes of the body are kept: give a whole body"
        )
    try:
        document = orjson.loads(content.body)
    except (orjson.JSONDecodeError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InvalidChange(what, "the body is no JSON object: give a whole body")
    return document


def _write(document: object) -> bytes:
    try:
        return orjson.dumps(document)
    except (TypeError, RecursionError):
        rule = "a value is no JSON that readers take: too large, too deep or not UTF-8"
        raise InvalidChange("changes", rule) from None
