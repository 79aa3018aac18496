"""Tells structured from binary mode by the content header, and reads binary attributes.

CloudEvents AMQP protocol binding 1.0.2, section 3. In binary mode attributes are headers, with
the prefix ``cloudEvents_`` or ``cloudEvents:``, or ``ce-`` as in the RabbitMQ protocol binding,
which the CloudEvents SDK for Python writes (``cloudevents.core.bindings.rabbitmq``). Any header may
begin with ``ce-``, so these count only where two of the required attributes are among them, and
only on a message that has no header with the prefixes of the AMQP binding.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from events.envelope import CONTENT_TYPE, REQUIRED_ATTRIBUTES, attribute_text
from infra.amqp.content_header import FLAGS, Undecodable
from schemas.escaping import NAME_LENGTH, escape
from schemas.trace_context import TRACE_ATTRIBUTES

PREFIXES = ("cloudEvents_", "cloudEvents:")  # both have the same length
RABBITMQ_PREFIXES = ("ce-",)
RABBITMQ_MARKS = frozenset(f"ce-{name}" for name in REQUIRED_ATTRIBUTES)
AMQP_BYTES, RABBITMQ_BYTES = b"cloudEvents", b"ce-"
UNDERSCORE, COLON = (prefix.encode() for prefix in PREFIXES)

FORMATS = "application/cloudevents"
JSON_FORMATS = (FORMATS, CONTENT_TYPE)
BATCH = "application/cloudevents-batch"
STRUCTURED = CONTENT_TYPE.encode()
HAS_CONTENT_TYPE = 0x80  # in the first byte of the flags; the content type is the first property
CONTENT_TYPE_AT = FLAGS + 3  # after the flags and the length of the short string

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Milliseconds since 1970. A smaller number is more likely in seconds, so it is no time; a larger
# one is beyond the year 9999.
MILLISECONDS = range(10**11, 253_402_300_800_000)


def is_structured(header: bytes) -> bool:
    """Tell whether a content header names the JSON format as it is mostly written.

    It is quick: False says nothing, ``is_format`` of the decoded content type does.
    """
    return header.startswith(STRUCTURED, CONTENT_TYPE_AT) and bool(header[FLAGS] & HAS_CONTENT_TYPE)


def may_be_binary(header: bytes) -> bool:
    """Tell whether a content header may have attributes; it is quick, and errs on True."""
    return AMQP_BYTES in header or RABBITMQ_BYTES in header


def media_type(content_type: str | None) -> str:
    """Give the media type without parameters, in lower case."""
    return (content_type or "").partition(";")[0].strip().lower()


def is_format(content_type: str | None) -> bool:
    """Tell whether a content type names an event format: structured mode."""
    return media_type(content_type).startswith(FORMATS)


def wrong_format(content_type: str | None) -> str | None:
    """Say in words why a message in this event format is no event; None where it may be one."""
    kind = media_type(content_type)
    if not kind.startswith(FORMATS) or kind in JSON_FORMATS:
        return None
    shown = escape(kind, NAME_LENGTH)
    if kind.startswith(BATCH):
        return (
            f"the content type is {shown}: a batch is no event over AMQP,"
            f" publish each event as a message of its own ({CONTENT_TYPE})"
        )
    return f"the content type is {shown}: of the event formats only {CONTENT_TYPE} is read"


def prefixes_of(headers: Mapping[str, Any]) -> tuple[str, ...]:
    """Tell which prefixes attributes have among these headers, all of one length; none without."""
    for name in headers:  # mostly the first has it
        if name.startswith(PREFIXES):
            return PREFIXES
    return RABBITMQ_PREFIXES if len(RABBITMQ_MARKS & headers.keys()) > 1 else ()


def attributes_of(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Give the attributes among headers as the canonical strings of their types.

    What has no such string, such as a table, is as it came (CloudEvents 1.0.2, "Type System").
    """
    prefixes = prefixes_of(headers)
    if not prefixes:
        return {}
    length = len(prefixes[0])
    return {
        name[length:]: value if type(value) is str else canonical(name[length:], value)
        for name, value in headers.items()
        if name.startswith(prefixes)
    }


def canonical(name: str, value: object) -> object:
    """Write an attribute in a native type as the text that CloudEvents gives its type.

    What has none (a table, text that is not UTF-8) is given back as it is. AMQP 1.0 counts
    timestamps in milliseconds, so an integer as ``time`` is taken as such: the CloudEvents SDK for
    Python writes it (``cloudevents.core.bindings.amqp``).
    """
    if name == "time" and type(value) is int and value in MILLISECONDS:
        return (EPOCH + timedelta(milliseconds=value)).isoformat()
    return value if isinstance(value, Undecodable) else attribute_text(value)


def contradiction(header: bytes, headers: Mapping[str, Any]) -> str | None:
    """Name an attribute that both prefixes of the AMQP binding give, with different values."""
    if UNDERSCORE not in header or COLON not in header:
        return None
    first, second = PREFIXES
    for name, value in headers.items():
        attribute = name.removeprefix(first)
        if attribute in TRACE_ATTRIBUTES:
            continue
        if attribute != name and headers.get(second + attribute, value) != value:
            return attribute
    return None
