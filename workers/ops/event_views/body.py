"""Shows the body of a message of the event log: as JSON, its properties, its bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from events import EVENT_TYPES
from infra.errors import Permanent
from infra.messaging.decoder import decode_delivery
from infra.messaging.delivery import Delivery
from infra.messaging.event_log import LogEntry
from infra.messaging.log_content import parse_content, properties_of
from workers.ops.event_views.json_lines import IndentedJson, indent_json

MAX_SHOWN_BYTES = 4096
ROW = 8  # bytes of a line
PRINTABLE = range(0x20, 0x7F)
VIEWS = ("json", "properties", "bytes")


@dataclass(frozen=True, slots=True)
class MessageBody:
    """A message, what the schema says of it (None: it fits), and its views."""

    problem: str | None
    code: str
    json: IndentedJson | None
    text: str
    properties: list[tuple[str, str, str]]  # name, type, value
    bytes: str
    size: int
    shown: int
    traceparent: str
    broker_user: str


def read_body(entry: LogEntry, max_bytes: int) -> MessageBody:
    """Read a message for people; never raises, whatever its bytes are."""
    delivery = entry.delivery
    problem, code = _validate(delivery, max_bytes)
    content = parse_content(delivery)
    kept = delivery.body[:MAX_SHOWN_BYTES]
    trace = (content or {}).get("traceparent")
    return MessageBody(
        problem=problem,
        code=code,
        json=_indent(delivery, content),
        text=kept.decode(errors="backslashreplace"),
        properties=list(_list_properties(delivery)),
        bytes=dump_bytes(kept),
        size=delivery.size,
        shown=len(kept),
        traceparent=trace if isinstance(trace, str) else "",
        broker_user=delivery.user or "",
    )


def _validate(delivery: Delivery, max_bytes: int) -> tuple[str | None, str]:
    try:
        decode_delivery(delivery, EVENT_TYPES, max_bytes)
    except Permanent as found:
        return str(found), found.code
    return None, ""


def _indent(delivery: Delivery, content: dict[str, Any] | None) -> IndentedJson | None:
    """Indent the event; in structured mode as it was written."""
    if content is None:
        return None
    if delivery.attributes:
        return indent_json(orjson.dumps(content, default=str).decode())
    return indent_json(delivery.body.decode(errors="replace"))


def _list_properties(delivery: Delivery) -> Iterator[tuple[str, str, str]]:
    yield "routing_key", "", delivery.routing_key
    yield "exchange", "", delivery.exchange
    for name, value in properties_of(delivery).items():
        if name == "headers" and isinstance(value, dict):
            for header, said in value.items():
                yield f"headers.{header}", _name_type(said), _to_text(said)
        else:
            yield name, _name_type(value), _to_text(value)


def _name_type(value: object) -> str:
    names = {
        "str": "text",
        "int": "number",
        "bytes": "bytes",
        "datetime": "time",
        "bool": "true/false",
    }
    return names.get(type(value).__name__, type(value).__name__)


def _to_text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return bytes(value[:MAX_SHOWN_BYTES]).hex(" ")
    return str(value)


def dump_bytes(body: bytes) -> str:
    """Write bytes in hexadecimal, eight a line, with their place and what is printable."""
    lines = []
    for start in range(0, len(body), ROW):
        row = body[start : start + ROW]
        shown = "".join(chr(byte) if byte in PRINTABLE else "." for byte in row)
        lines.append(f"{start:04x}  {row.hex(' '):<{ROW * 3 - 1}}  {shown}")
    return "\n".join(lines)
