"""Selects the publisher's headers that stay on a message that is republished or filed.

The CloudEvents attributes of binary mode, the trace, and what says where it came from (which
counts for Adrelay's own users alone, ``infra.messaging.origin``); nothing else that a publisher
writes counts. A content header has to fit into one frame (AMQP 0-9-1, section 4.2.6), so they are
bounded in number and bytes, and what does not fit is counted. Required attributes come first.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from events.envelope import REQUIRED_ATTRIBUTES, Event
from infra.amqp.content_header import Undecodable
from infra.messaging.content_mode import canonical, prefixes_of
from infra.messaging.delivery import Delivery
from infra.messaging.headers import DOOR, OUTBOX
from schemas.trace_context import TRACE_ATTRIBUTES

MAX_HEADERS = 64
MAX_BYTES = 24 * 1024  # of all names and values
MAX_VALUE_BYTES = 1000
MAX_NAME_BYTES = 128
ALWAYS = frozenset({*TRACE_ATTRIBUTES, DOOR, OUTBOX})
ENVELOPE = REQUIRED_ATTRIBUTES | set(Event.model_fields)


class KeptHeaders(NamedTuple):
    """Headers that stay; how many were left out; texts that are not UTF-8, in hex, by name."""

    headers: dict[str, str]
    left_out: int
    undecodable: dict[str, str]


def select_headers(delivery: Delivery) -> KeptHeaders:
    """Select the headers of a delivery that stay; never raises."""
    prefixes = prefixes_of(delivery.headers)
    start = len(prefixes[0]) if prefixes else 0
    wanted = [(n, v) for n, v in delivery.headers.items() if n in ALWAYS or n.startswith(prefixes)]
    headers: dict[str, str] = {}
    undecodable: dict[str, str] = {}
    room, left_out = MAX_BYTES, 0
    for name, value in _envelope_first(wanted, start):
        text = canonical(name[start:], value)
        written = text if isinstance(text, str) else _write(text)
        size = len(name.encode()) + len(written.encode())
        is_small = len(written.encode()) <= MAX_VALUE_BYTES and len(name.encode()) <= MAX_NAME_BYTES
        if not is_small or size > room or len(headers) + len(undecodable) >= MAX_HEADERS:
            left_out += 1
            continue
        room -= size
        (headers if isinstance(text, str) else undecodable)[name] = written
    return KeptHeaders(headers, left_out, undecodable)


def _envelope_first(wanted: Iterable[tuple[str, Any]], start: int) -> list[tuple[str, Any]]:
    """Sort headers; ``start`` is where the name of an attribute begins in that of its header."""
    return sorted(
        wanted, key=lambda pair: pair[0] not in ALWAYS and pair[0][start:] not in ENVELOPE
    )


def _write(value: object) -> str:
    """Write a value that is no text: not UTF-8 in hexadecimal, anything else as its type."""
    return str(value) if isinstance(value, Undecodable) else f"({type(value).__name__})"
