"""CloudEvents over HTTP (HTTP protocol binding 1.0.2): structured, batch and binary mode.

The media type decides the mode; ``application/cloudevents-batch`` is compared before its own prefix
``application/cloudevents``.
"""

import functools
import operator
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Annotated, Any
from urllib.parse import unquote

from aiohttp import web
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from events import UPSTREAM_EVENTS
from events.envelope import Event, normalize_json
from infra.web.errors import (
    FieldError,
    HttpError,
    invalid,
    too_large,
    unsupported_media_type,
)
from infra.web.responses import JSON
from schemas.trace_context import TRACE_ATTRIBUTES
from workers.ingress.api.event_results import (
    UNKNOWN_TYPE,
    Rejection,
    invalid_event,
    parse_rejection,
)
from workers.ingress.http.parsing import media_type, to_field_errors
from workers.ingress.http.strict_json import DUPLICATE_NAME, find_ambiguities, has_unique_names

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
FORMATS = "application/cloudevents"
HEADER_PREFIX = "ce-"
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
ESCAPED = re.compile(r"\\(.)")
TYPES = {event.event_type(): event for event in UPSTREAM_EVENTS}

UPSTREAM_EVENT: Any = Annotated[
    functools.reduce(operator.or_, UPSTREAM_EVENTS), Field(discriminator="type")
]
EVENT_ADAPTER: TypeAdapter[Event] = TypeAdapter(UPSTREAM_EVENT)

# A decoded event, or the id (if it has a valid one) and the reason of an invalid item.
Item = Event | tuple[str | None, Rejection]


class ContentMode(Enum):
    """The content modes of the HTTP binding."""

    STRUCTURED = auto()
    BATCH = auto()
    BINARY = auto()


def parse_mode(request: web.Request) -> ContentMode:
    """Return the mode; raises an ``HttpError`` (415) for anything but CloudEvents in JSON."""
    kind = media_type(request)
    if kind == BATCH:
        return ContentMode.BATCH
    if kind == STRUCTURED:
        return ContentMode.STRUCTURED
    if kind.startswith(FORMATS):  # another format than JSON
        raise unsupported_media_type(STRUCTURED, BATCH)
    json = not kind or kind == JSON or kind.endswith("+json")
    if json and any(name.lower().startswith(HEADER_PREFIX) for name in request.headers):
        return ContentMode.BINARY
    raise unsupported_media_type(STRUCTURED, BATCH)


def read_structured(body: bytes) -> Event:
    """Parse one event; raises an ``HttpError`` (400)."""
    try:
        event = _event(body)
    except ValidationError as error:
        reason = parse_rejection(error, skip=1)
        wrong = find_ambiguities(body) if reason is not UNKNOWN_TYPE else []
        raise (invalid_event(wrong) if wrong else reason).to_error() from None
    if not has_unique_names(body, event) and (wrong := find_ambiguities(body)):
        raise invalid_event(wrong).to_error()
    return event


def read_batch(body: bytes, most: int) -> list[Item]:
    """Parse an array of events one by one; raises an ``HttpError``: 400 for anything else.

    A valid batch is parsed once; only an invalid one is parsed item by item. More than ``most``
    events are rejected with 413, an array with duplicate names is rejected as a whole.
    """
    try:
        events = _batch(most).validate_json(body)
    except ValidationError as error:
        whole = [line for line in error.errors(include_input=False) if not line["loc"]]
        if any(line["type"] == "too_long" for line in whole):
            raise too_large(f"A batch may have at most {most} events.") from None
        if whole:
            details = find_ambiguities(body) or to_field_errors(error)
            raise invalid(details, "The body is not an array of events.") from None
    else:
        if has_unique_names(body, *events):
            return list(events)
    if wrong := [line for line in find_ambiguities(body) if line.message == DUPLICATE_NAME]:
        raise invalid(wrong, "The body can be read in more than one way.")
    return [_item(item) for item in from_json(body)]


def read_binary(headers: Mapping[str, str], body: bytes) -> Event:
    """Parse an event whose attributes are headers; raises an ``HttpError`` (400)."""
    attributes = {
        name[len(HEADER_PREFIX) :].lower(): _read_attribute(name, value)
        for name, value in headers.items()
        if name.lower().startswith(HEADER_PREFIX)
    }
    if "datacontenttype" in attributes:  # HTTP binding, section 3.1.3.1
        message = "must be sent as Content-Type"
        raise invalid([FieldError("ce-datacontenttype", message)])
    kind = TYPES.get(attributes.get("type", ""))
    if kind is None:
        raise UNKNOWN_TYPE.to_error()
    try:
        data = from_json(body)
    except ValueError:
        raise invalid(_in_data(body) or [FieldError("data", "Invalid JSON")]) from None
    try:
        event = kind.model_validate({**attributes, "data": data})
    except ValidationError as error:
        raise parse_rejection(error, skip=0).to_error() from None
    if not has_unique_names(body, event.data) and (wrong := _in_data(body)):
        raise invalid_event(wrong).to_error()
    return event


def read_header(name: str, value: str) -> str:
    """Decode an attribute (HTTP binding 1.0.2, section 3.1.3.2): quotes, then percent-encoding.

    Older senders quote values that are not tokens, so ``"1.0"`` is ``1.0``. Raises an ``HttpError``
    (400) for an unterminated quote and for bytes that are not UTF-8.
    """
    text = value.strip(" \t")
    if text.startswith('"'):
        if not QUOTED.fullmatch(text):
            raise invalid([FieldError(name.lower(), "has an unterminated double quote")])
        text = ESCAPED.sub(r"\1", text[1:-1])
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise invalid([FieldError(name.lower(), "must be UTF-8, percent-encoded")]) from None


def _read_attribute(name: str, value: str) -> str:
    """Decode a header as ``read_header`` does; a malformed trace context is left out."""
    try:
        return read_header(name, value)
    except HttpError:
        if name.lower().removeprefix(HEADER_PREFIX) in TRACE_ATTRIBUTES:
            return ""
        raise


def _in_data(body: bytes) -> list[FieldError]:
    return [
        FieldError("data" if line.field == "body" else f"data.{line.field}", line.message)
        for line in find_ambiguities(body)
    ]


def _event(body: bytes) -> Event:
    try:
        return EVENT_ADAPTER.validate_json(body)
    except ValidationError:
        plain = normalize_json(body)
        if plain is None:
            raise
    return EVENT_ADAPTER.validate_json(plain)


@functools.cache
def _batch(most: int) -> TypeAdapter[list[Event]]:
    return TypeAdapter(Annotated[list[UPSTREAM_EVENT], Field(max_length=most)])


def _item(item: object) -> Item:
    try:
        return _event(to_json(item, inf_nan_mode="constants"))
    except ValidationError as error:
        return _quotable_id(item), parse_rejection(error, skip=1)


def _quotable_id(item: object) -> str | None:
    """Return the id of an invalid event if it may be quoted in the response."""
    found = item.get("id") if isinstance(item, dict) else None
    shown = isinstance(found, str) and len(found) <= 200 and found.isprintable()  # noqa: PLR2004 - as Attribute
    return found if shown else None
