"""Reads a message of the event log as a CloudEvent in JSON, and writes it as one line.

The log also holds what no consumer can decode. So nothing here validates, and nothing raises: what
is no event is written with its body in base64 (RFC 4648, section 4).

CloudEvents JSON format 1.0.2, section 3.1: ``data`` and ``data_base64``.
"""

import base64
import re
from typing import Any

import orjson

from infra.messaging import content_mode
from infra.messaging.delivery import Delivery
from infra.messaging.event_log import LogEntry

TYPE_PARTS = 3  # of a routing key: noun, verb and version
# A JSON string, or white space between tokens (RFC 8259, sections 2 and 7).
TOKENS = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\r\n]+')


def parse_content(delivery: Delivery) -> dict[str, Any] | None:
    """Parse an event as a JSON object of its attributes and data; None for what is none."""
    attributes = delivery.attributes
    if attributes:
        data = None if delivery.whole is not None else _parse(delivery.body)
        return attributes if data is None else {**attributes, "data": data}
    if delivery.whole is not None or content_mode.wrong_format(delivery.properties.content_type):
        return None
    document = _parse(delivery.body)
    return document if isinstance(document, dict) else None


def get_type(delivery: Delivery, content: dict[str, Any] | None) -> str:
    """Get the type that an event names, or the one in its routing key."""
    named = (content or {}).get("type")
    if isinstance(named, str):
        return named
    return ".".join(delivery.routing_key.split(".")[:TYPE_PARTS])


def write_line(entry: LogEntry, *, with_properties: bool = False) -> bytes:
    """Write an entry as one JSON object: the event as it was published, and what the log knows.

    ``with_properties`` adds the AMQP properties and headers. Names that the log adds have an
    underscore, which names of CloudEvents attributes do not have, but for ``offset``.
    """
    delivery = entry.delivery
    published_at = entry.published_at
    head: dict[str, Any] = {
        "offset": entry.offset,
        "published_at": None if published_at is None else published_at.isoformat(),
        "routing_key": delivery.routing_key,
        "broker_user": delivery.user,
    }
    if with_properties:
        head["amqp_properties"] = properties_of(delivery)
    content = parse_content(delivery)
    if content is None or head.keys() & content.keys():
        return orjson.dumps(head | _write_body(delivery), default=str)
    if delivery.attributes:
        return _write_binary(head | delivery.attributes, delivery)
    return _join(orjson.dumps(head, default=str), _compact(delivery.body))


def properties_of(delivery: Delivery) -> dict[str, Any]:
    """List the AMQP properties that a message has; the headers among them, as they came."""
    found = delivery.properties._asdict()
    return {name: value for name, value in found.items() if value is not None}


def _write_binary(head: dict[str, Any], delivery: Delivery) -> bytes:
    if delivery.whole is not None:
        return orjson.dumps(head | _write_body(delivery), default=str)
    if not delivery.body:
        return orjson.dumps(head, default=str)
    if _parse(delivery.body) is None and delivery.body.strip() != b"null":
        return orjson.dumps(head | {"data_base64": _encode(delivery.body)}, default=str)
    written = orjson.dumps(head, default=str)
    return _join(written, b'{"data":' + _compact(delivery.body) + b"}")


def _write_body(delivery: Delivery) -> dict[str, Any]:
    found: dict[str, Any] = {
        "content_type": delivery.properties.content_type,
        "body_base64": _encode(delivery.body),
    }
    if (whole := delivery.whole) is not None:  # only the beginning was kept in memory
        found |= {"body_bytes": whole.length, "body_sha256": whole.sha256}
    return found


def _join(first: bytes, second: bytes) -> bytes:
    """Make one JSON object of two that are not empty, or of one and an empty one."""
    return first if second == b"{}" else first[:-1] + b"," + second[1:]


def _compact(document: bytes) -> bytes:
    """Drop the white space between the tokens of a JSON document; the tokens stay as they are."""
    return TOKENS.sub(lambda found: found[1] or b"", document)


def _encode(body: bytes) -> str:
    return base64.b64encode(body).decode()


def _parse(body: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
