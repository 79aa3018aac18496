"""CloudEvents over HTTP (HTTP protocol binding 1.0.2): structured, batch and binary mode.

The mode follows from the media type; ``application/cloudevents-batch`` has to be looked for
before its own prefix ``application/cloudevents``.
"""

import functools
import operator
from collections.abc import Mapping
from enum import Enum, auto
from typing import Annotated, Any
from urllib.parse import unquote

from aiohttp import web
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from events import UPSTREAM_EVENTS
from events.base import Event
from workers.ingress.body import details_of, media_type
from workers.ingress.envelope import JSON
from workers.ingress.refusals import Detail, Refusal, invalid, too_large, unsupported
from workers.ingress.verdicts import UNKNOWN_TYPE, Reason, reason_of

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PREFIX = "ce-"
TYPES = {event.event_type(): event for event in UPSTREAM_EVENTS}

UPSTREAM: Any = Annotated[
    functools.reduce(operator.or_, UPSTREAM_EVENTS), Field(discriminator="type")
]
EVENT: TypeAdapter[Event] = TypeAdapter(UPSTREAM)

# A decoded event, or the id (if it can be told) of what is none and why it is none.
Item = Event | tuple[str | None, Reason]


class Mode(Enum):
    """How events are written in a request."""

    STRUCTURED = auto()
    BATCH = auto()
    BINARY = auto()


def mode_of(request: web.Request) -> Mode:
    """Tell the mode; raises a ``Refusal`` (415) for what is no CloudEvent in JSON."""
    kind = media_type(request)
    if kind == BATCH:
        return Mode.BATCH
    if kind == STRUCTURED:
        return Mode.STRUCTURED
    if kind == JSON and any(name.lower().startswith(PREFIX) for name in request.headers):
        return Mode.BINARY
    raise unsupported(STRUCTURED, BATCH)


def read_structured(body: bytes) -> Event:
    """Read one event; raises a ``Refusal`` (400)."""
    try:
        return EVENT.validate_json(body)
    except ValidationError as error:
        raise reason_of(error, skip=1).refusal() from None


def read_batch(body: bytes, most: int) -> list[Item]:
    """Read an array of events, each for itself; raises a ``Refusal``: 400 for what is no array.

    A batch in which all is well is parsed once; only for another one the items are taken
    apart. More than ``most`` events are refused with 413.
    """
    try:
        return list(_batch(most).validate_json(body))
    except ValidationError as error:
        whole = [line for line in error.errors(include_input=False) if not line["loc"]]
        if any(line["type"] == "too_long" for line in whole):
            raise too_large(f"A batch may have at most {most} events.") from None
        if whole:
            raise invalid(details_of(error), "The body is not an array of events.") from None
    return [_item(item) for item in from_json(body)]


def read_binary(headers: Mapping[str, str], body: bytes) -> Event:
    """Read an event whose attributes are headers; raises a ``Refusal`` (400)."""
    try:
        attributes = {
            name[len(PREFIX) :].lower(): unquote(value, errors="strict")
            for name, value in headers.items()
            if name.lower().startswith(PREFIX)
        }
    except UnicodeDecodeError:
        raise Refusal(400, "VALIDATION_ERROR", "A ce- header is not UTF-8.") from None
    if "datacontenttype" in attributes:  # HTTP binding, section 3.1.3.1
        message = "must be sent as Content-Type"
        raise invalid([Detail("ce-datacontenttype", message)])
    kind = TYPES.get(attributes.get("type", ""))
    if kind is None:
        raise UNKNOWN_TYPE.refusal()
    try:
        data = from_json(body)
    except ValueError:
        raise invalid([Detail("data", "Invalid JSON")]) from None
    try:
        return kind.model_validate({**attributes, "data": data})
    except ValidationError as error:
        raise reason_of(error, skip=0).refusal() from None


@functools.cache
def _batch(most: int) -> TypeAdapter[list[Event]]:
    return TypeAdapter(Annotated[list[UPSTREAM], Field(max_length=most)])


def _item(item: object) -> Item:
    try:
        return EVENT.validate_json(to_json(item))
    except ValidationError as error:
        return _id_of(item), reason_of(error, skip=1)


def _id_of(item: object) -> str | None:
    """Tell the id of something that is no event, if it has one that may be repeated."""
    found = item.get("id") if isinstance(item, dict) else None
    shown = isinstance(found, str) and len(found) <= 200 and found.isprintable()  # noqa: PLR2004 - as Attribute
    return found if shown else None
