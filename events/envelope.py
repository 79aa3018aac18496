"""The envelope: every event on the bus is a CloudEvents 1.0 JSON object.

    {"specversion": "1.0", "id": .., "source": .., "type": "campaign.saved.v1",
     "time": .., "subject": .., "data": {..}, ..}

An event type is one frozen class. Its ``type`` is a literal, so decoding is a single
pass of the JSON parser that also checks it; attributes that the envelope does not know
(CloudEvents extensions) are kept, unknown fields of ``data`` are refused.
The routing key is the type, then the platform where the data has one.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from os import urandom
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, from_json, to_json

from events.sources import DEFAULT_SOURCE
from schemas.attributes import TEXT_PATTERN, ExtensionName, ExtensionValue
from schemas.times import OffsetDatetime
from schemas.types import FrozenModel

CONTENT_TYPE = "application/cloudevents+json"

# CloudEvents 1.0, section 3.1: what every event on a wire must say itself.
REQUIRED_ATTRIBUTES = frozenset({"specversion", "id", "source", "type"})

_TIME_ATTRIBUTE = {"time"}

ID_POOL_SIZE = 64  # ids that are made at a time
_id_pool: list[str] = []

# CloudEvents 1.0: id and source are non-empty strings; control characters are refused.
CloudEventAttribute = Annotated[str, Field(min_length=1, max_length=200, pattern=TEXT_PATTERN)]
JSON_TYPE = re.compile(
    r"[a-z0-9!#$&^_.+-]+/(?:[a-z0-9!#$&^_.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE | re.DOTALL
)


def new_id() -> str:
    """Make a fresh event id: 32 hexadecimal digits, at random from the kernel."""
    if not _id_pool:  # one call of the kernel for many ids
        digits = urandom(16 * ID_POOL_SIZE).hex()
        _id_pool.extend(digits[start : start + 32] for start in range(0, len(digits), 32))
    return _id_pool.pop()


def now() -> datetime:
    """Tell the time, aware and in UTC."""
    return datetime.now(UTC)


class Event(BaseModel):
    """One fact in the past tense; subclasses pin ``type`` and the shape of ``data``.

    ``correlationid`` names the request that began it all, ``causationid`` the event
    that caused this one, ``traceparent`` the W3C trace of the start (CloudEvents
    distributed tracing extension).
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
    traceparent: CloudEventAttribute | None = None
    data: Any

    __pydantic_extra__: dict[ExtensionName, ExtensionValue]

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Show in JSON schemas that what CloudEvents requires has no default on the wire."""
        written = handler(schema)
        target = handler.resolve_ref_schema(written)
        target["required"] = sorted({*target.get("required", ()), *REQUIRED_ATTRIBUTES})
        return written

    @classmethod
    def event_type(cls) -> str:
        """Tell the type that this class stands for, such as ``campaign.saved.v1``."""
        return str(cls.model_fields["type"].default)

    @property
    def has_time(self) -> bool:
        """Whether its sender said when it happened.

        Otherwise ``time`` is when the event was made or read, another one at each reading, and
        gives no order.
        """
        return "time" in self.model_fields_set

    @property
    def routing_key(self) -> str:
        """The type, then the platform where the event is routed by it."""
        return f"{self.type}.{self.data.platform}" if self.routed_by_platform else self.type

    @classmethod
    def caused_by(cls, cause: "Event", *, source: str, **fields: Any) -> Self:  # noqa: ANN401
        """Make an event that ``cause`` brought about, in the same correlation and trace."""
        return cls(
            source=source,
            correlationid=cause.correlationid or cause.id,
            causationid=cause.id,
            traceparent=cause.traceparent,
            **fields,
        )


def encode(event: Event, *, with_time: bool = True) -> bytes:
    """Write an event as CloudEvents structured JSON (UTF-8), with or without its ``time``."""
    exclude = None if with_time else _TIME_ATTRIBUTE
    return event.__pydantic_serializer__.to_json(event, exclude_none=True, exclude=exclude)


class MissingAttributes(ValueError):
    """Attributes that CloudEvents requires of a sender were not given; the text names them."""


def decode(cls: type[Event], body: bytes) -> Event:
    """Read CloudEvents structured JSON.

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
    """Write an event in our form of the JSON format; None where there is nothing to change.

    Its other forms (JSON format 1.0.2, sections 2.2 and 3.1) are seldom, so they are looked
    for only when an event could not be read: an attribute that is null is absent, any media
    type of JSON is one of JSON, and ``data_base64`` holds data that are JSON.
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
    """Read an event in binary mode: attributes from headers, ``data`` from the body.

    Raises ``ValueError`` when the body is no JSON, else as ``decode`` does.
    """
    told = {n: attribute_text(value) for n, value in attributes.items() if value is not None}
    kind = told.get("datacontenttype")
    if isinstance(kind, str) and JSON_TYPE.fullmatch(kind):
        told["datacontenttype"] = "application/json"
    return _complete(cls.model_validate({**told, "data": from_json(data)}))


def attribute_text(value: Any) -> Any:  # noqa: ANN401 - whatever a header holds
    """Write an attribute that came in a native type as text, so that it reads the same again.

    The texts are the canonical ones of CloudEvents 1.0.2 ("Type System"): RFC 3339 for a
    timestamp, ``true`` and ``false``, decimal digits, Base64 for bytes. What is no scalar is
    given as it is.
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
    """Refuse an event whose sender left a required attribute to our defaults."""
    missing = REQUIRED_ATTRIBUTES - event.model_fields_set
    if missing:
        raise MissingAttributes("; ".join(f"{name}: Field required" for name in sorted(missing)))
    return event


class EventData(FrozenModel):
    """The base of what events carry; unknown fields are refused."""
