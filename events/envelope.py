"""The envelope: every event on the broker is a CloudEvents 1.0 JSON object.

    {"specversion": "1.0", "id": .., "source": .., "type": "campaign.saved.v1",
     "time": .., "subject": .., "data": {..}, ..}

An event type is one frozen class. Its ``type`` is a literal, so a single pass of the JSON
parser decodes and validates an event. Unknown attributes of the envelope (CloudEvents
extensions) are kept; unknown fields of ``data`` are rejected. The routing key is the type,
followed by the platform if the event is routed by platform.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from os import urandom
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, from_json, to_json

from events.sources import DEFAULT_SOURCE
from schemas.attributes import SCHEMA_TEXT_PATTERN, TEXT_PATTERN, ExtensionName, ExtensionValue
from schemas.times import OffsetDatetime
from schemas.trace_context import (
    MAX_STATE_LENGTH,
    TraceContext,
    parse_traceparent,
    parse_tracestate,
)
from schemas.types import FrozenModel

CONTENT_TYPE = "application/cloudevents+json"

# CloudEvents 1.0.2, section "REQUIRED Attributes": every event on the wire has them.
REQUIRED_ATTRIBUTES = frozenset({"specversion", "id", "source", "type"})

_TIME_ATTRIBUTE = {"time"}

ID_POOL_SIZE = 64  # ids generated at a time
_id_pool: list[str] = []

# CloudEvents 1.0.2: id and source are non-empty strings without control characters.
CloudEventAttribute = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        pattern=TEXT_PATTERN,
        json_schema_extra={"pattern": SCHEMA_TEXT_PATTERN},
    ),
]
JSON_TYPE = re.compile(
    r"[a-z0-9!#$&^_.+-]+/(?:[a-z0-9!#$&^_.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE | re.DOTALL
)


def _parse_state(value: object, info: ValidationInfo) -> str | None:
    """Read ``tracestate``, which means nothing without a valid ``traceparent``."""
    return parse_tracestate(value) if info.data.get("traceparent") else None


# A trace context is never a reason to reject an event: what is malformed counts as absent.
Traceparent = Annotated[CloudEventAttribute | None, BeforeValidator(parse_traceparent)]
Tracestate = Annotated[
    Annotated[str, Field(min_length=1, max_length=MAX_STATE_LENGTH)] | None,
    BeforeValidator(_parse_state),
]


def new_id() -> str:
    """Generate an event id: 32 random hexadecimal digits."""
    if not _id_pool:  # one system call for many ids
        digits = urandom(16 * ID_POOL_SIZE).hex()
        _id_pool.extend(digits[start : start + 32] for start in range(0, len(digits), 32))
    return _id_pool.pop()


def derive_id(cause: "Event", kind: str, source: str, fields: Mapping[str, Any]) -> str:
    """Derive the id of a caused event: 32 hexadecimal digits.

    From source and id of the cause, and source, type, subject and data of the event; the same id
    never says two things.
    """
    names = (source, kind, cause.source, cause.id, fields.get("subject") or "")
    hashed = blake2b("\0".join(names).encode(), digest_size=16)
    hashed.update(b"\0" + to_json(fields.get("data")))
    return hashed.hexdigest()


def now() -> datetime:
    """Return the current time, aware and in UTC."""
    return datetime.now(UTC)


class Event(BaseModel):
    """One fact in the past tense; subclasses fix ``type`` and the model of ``data``.

    ``correlationid`` is the id of the first request of the chain, ``causationid`` the id of
    the event that caused this one, ``traceparent`` and ``tracestate`` the W3C trace context of the
    request (CloudEvents distributed tracing extension).
    """

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    routed_by_platform: ClassVar[bool] = False

    specversion: Literal["1.0"] = "1.0"
    id: CloudEventAttribute = Field(default_factory=new_id)
    source: CloudEventAttribute = DEFAULT_SOURCE
    type: str
    subject: CloudEventAttribute | None = None
    time: OffsetDatetime = Field(default_factory=now)
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: CloudEventAttribute | None = None
    correlationid: CloudEventAttribute | None = None
    causationid: CloudEventAttribute | None = None
    traceparent: Traceparent = None
    tracestate: Tracestate = None
    data: Any

    __pydantic_extra__: dict[ExtensionName, ExtensionValue]

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Mark the attributes that CloudEvents requires as required in JSON schemas."""
        written = handler(schema)
        target = handler.resolve_ref_schema(written)
        target["required"] = sorted({*target.get("required", ()), *REQUIRED_ATTRIBUTES})
        return written

    @classmethod
    @cache
    def event_type(cls) -> str:
        """Return the type of this class, such as ``campaign.saved.v1``."""
        return str(cls.model_fields["type"].default)

    @property
    def has_time(self) -> bool:
        """Whether the sender set ``time``.

        Otherwise ``time`` is when the event was created or decoded: it differs each time the
        event is decoded, and must not be used to order events.
        """
        return "time" in self.model_fields_set

    @property
    def routing_key(self) -> str:
        """The type, followed by the platform if the event is routed by platform."""
        return f"{self.type}.{self.data.platform}" if self.routed_by_platform else self.type

    @property
    def trace_context(self) -> TraceContext | None:
        """The trace that the event belongs to; None without one."""
        if self.traceparent is None:
            return None
        return TraceContext(self.traceparent, self.tracestate)

    @classmethod
    def caused_by(cls, cause: "Event", *, source: str, **fields: Any) -> Self:  # noqa: ANN401
        """Create an event that ``cause`` caused, with its correlation id and trace context.

        The id is derived from the cause and from what the new event says: a cause that is handled
        again, after a restore from the event log, causes the same events under the same ids. An
        ``id`` among the fields counts instead. The extension attribute ``causationsource`` is the
        cause's source: ids are unique only together with it (CloudEvents 1.0.2, section "id").
        """
        fields.setdefault("id", derive_id(cause, cls.event_type(), source, fields))
        return cls(
            source=source,
            correlationid=cause.correlationid or cause.id,
            causationid=cause.id,
            causationsource=cause.source,
            traceparent=cause.traceparent,
            tracestate=cause.tracestate,
            **fields,
        )


def encode(event: Event, *, with_time: bool = True) -> bytes:
    """Write an event as CloudEvents structured JSON (UTF-8), with or without its ``time``."""
    exclude = None if with_time else _TIME_ATTRIBUTE
    return event.__pydantic_serializer__.to_json(event, exclude_none=True, exclude=exclude)


class MissingAttributes(ValueError):
    """Attributes that CloudEvents requires are missing; the message names them."""


def decode(cls: type[Event], body: bytes) -> Event:
    """Decode an event from CloudEvents structured JSON.

    Raises ``pydantic.ValidationError`` or ``MissingAttributes`` (both ``ValueError``).
    """
    try:
        return _complete(cls.model_validate_json(body))
    except ValidationError:
        plain = normalize_json(body)
        if plain is None:
            raise
    return _complete(cls.model_validate_json(plain))


def normalize_json(body: bytes) -> bytes | None:
    """Convert other valid forms of the JSON format to the one that ``Event`` accepts.

    JSON format 1.0.2, sections 2.2 and 3.1: an attribute that is null counts as absent, any
    JSON media type is accepted, and ``data_base64`` may contain JSON. These forms are rare, so
    they are handled only after decoding has failed. Returns None if nothing has to be changed
    or ``body`` is not a JSON object.
    """
    try:
        found = from_json(body)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    plain = {name: value for name, value in found.items() if value is not None or name == "data"}
    kind = plain.get("datacontenttype")
    if isinstance(kind, str) and JSON_TYPE.fullmatch(kind):
        plain["datacontenttype"] = "application/json"
    packed = plain.get("data_base64")
    if isinstance(packed, str) and "data" not in plain:
        try:
            plain["data"] = from_json(b64decode(packed, validate=True))
        except ValueError:
            return None
        del plain["data_base64"]
    return None if plain == found else to_json(plain, inf_nan_mode="constants")


def decode_binary(cls: type[Event], attributes: Mapping[str, Any], data: bytes) -> Event:
    """Decode an event in binary mode: attributes from headers, ``data`` from the body.

    Raises ``ValueError`` if the body is not JSON, otherwise as ``decode`` does.
    """
    texts = {n: attribute_text(value) for n, value in attributes.items() if value is not None}
    kind = texts.get("datacontenttype")
    if isinstance(kind, str) and JSON_TYPE.fullmatch(kind):
        texts["datacontenttype"] = "application/json"
    return _complete(cls.model_validate({**texts, "data": from_json(data)}))


def attribute_text(value: Any) -> Any:  # noqa: ANN401 - a header value has any type
    """Convert an attribute of a native type to its canonical text.

    CloudEvents 1.0.2, section "Type System": RFC 3339 for a timestamp, ``true`` and ``false``,
    decimal digits, Base64 for bytes. A value that is not a scalar is returned unchanged.
    """
    match value:
        case bool():
            return str(value).lower()
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        case int() | float() | Decimal():
            return str(value)
        case bytes() | bytearray():
            return b64encode(value).decode()
        case _:
            return value


def _complete(event: Event) -> Event:
    """Raise ``MissingAttributes`` if the sender left a required attribute to a default."""
    missing = REQUIRED_ATTRIBUTES - event.model_fields_set
    if missing:
        raise MissingAttributes("; ".join(f"{name}: Field required" for name in sorted(missing)))
    return event


class EventData(FrozenModel):
    """Base of the ``data`` of events; unknown fields are rejected."""
