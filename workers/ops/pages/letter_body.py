"""The body of a dead letter for people: as JSON with line numbers, as bytes, as a difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import orjson
from pydantic import ValidationError

from events.envelope import decode, decode_binary
from infra.messaging.content_mode import attributes_of
from infra.messaging.dead_letter_content import DeadLetterContent
from schemas.escaping import NAME_LENGTH, escape
from workers.ops.letter_form.rules import find_event_class

ROW = 8  # bytes of a row of a dump
MAX_DUMP = 4096  # bytes that are shown
MAX_DIFF_LINES = 2000  # a longer body is not compared
MAX_ERRORS = 50
CONTEXT = 3  # lines around a change
PRINTABLE = range(0x20, 0x7F)


@dataclass(frozen=True, slots=True)
class SchemaError:
    """What the schema says about a field; ``line`` of the JSON text is 0 where there is none.

    ``place`` is the path in the event, from its top.
    """

    path: str
    rule: str
    line: int
    place: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DumpRow:
    """A row of a dump: offset, bytes in hexadecimal and as text; true marks an offending byte."""

    offset: str
    cells: Sequence[tuple[str, str, bool]]
    padding: str


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line before or after an edit: ``kind`` is ``same``, ``del``, ``add`` or ``gap``."""

    kind: str
    before: int | None
    after: int | None
    text: str


def format_json(body: bytes) -> str | None:
    """Write a body as indented JSON; None if it is no JSON."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        return None


def decode_text(body: bytes) -> str | None:
    """Decode a body; None for bytes that are not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def dump_bytes(body: bytes) -> list[DumpRow]:
    """Write bytes as rows of ``ROW``; those that are not UTF-8 are marked."""
    shown = body[:MAX_DUMP]
    wrong = _find_undecodable(shown)
    rows = []
    for start in range(0, len(shown), ROW):
        part = shown[start : start + ROW]
        cells = [
            (f"{byte:02x}", chr(byte) if byte in PRINTABLE else ".", start + index in wrong)
            for index, byte in enumerate(part)
        ]
        rows.append(DumpRow(f"{start:04x}", cells, "   " * (ROW - len(part))))
    return rows


def find_schema_errors(content: DeadLetterContent) -> list[SchemaError]:
    """List what the schema of the event's type says about a body that is JSON."""
    cls = find_event_class(content.routing_key)
    if cls is None:
        return []
    try:
        if content.binary:
            decode_binary(cls, attributes_of(content.headers), content.body)
        else:
            decode(cls, content.body)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
    except (ValueError, RecursionError):
        return []
    else:
        return []
    lines = _number_lines(content)
    return [_to_schema_error(line, lines, content) for line in found[:MAX_ERRORS]]


def compare(before: str, after: str) -> list[DiffLine]:
    """List what differs, with ``CONTEXT`` lines around; empty for equal or too long texts."""
    old, new = before.split("\n"), after.split("\n")
    if old == new or max(len(old), len(new)) > MAX_DIFF_LINES:
        return []
    lines: list[DiffLine] = []
    for index, group in enumerate(SequenceMatcher(a=old, b=new).get_grouped_opcodes(CONTEXT)):
        if index:
            lines.append(DiffLine("gap", None, None, "…"))
        for tag, a, b, c, d in group:
            if tag == "equal":
                lines += [DiffLine("same", a + n + 1, c + n + 1, old[a + n]) for n in range(b - a)]
                continue
            lines += [DiffLine("del", n + 1, None, old[n]) for n in range(a, b)]
            lines += [DiffLine("add", None, n + 1, new[n]) for n in range(c, d)]
    return lines


def _to_schema_error(
    error: Mapping[str, Any], lines: Mapping[tuple[str, ...], int], content: DeadLetterContent
) -> SchemaError:
    place = tuple(str(part) for part in error["loc"])
    inside = place[1:] if content.binary and place[:1] == ("data",) else place
    while inside and inside not in lines:
        inside = inside[:-1]
    path = ".".join(escape(part, NAME_LENGTH) for part in place) or "event"
    return SchemaError(path, escape(str(error["msg"]), 300), lines.get(inside, 0), place)


def _number_lines(content: DeadLetterContent) -> Mapping[tuple[str, ...], int]:
    """Find the line of each field in the indented text."""
    try:
        document = orjson.loads(content.body)
    except (orjson.JSONDecodeError, RecursionError):
        return {}
    found: dict[tuple[str, ...], int] = {}
    _walk(document, (), 1, found)
    return found


def _walk(value: object, path: tuple[str, ...], line: int, found: dict[Any, int]) -> int:
    """Find the lines of a value that begins in ``line``; returns the line in which it ends."""
    found[path] = line
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = [(str(index), one) for index, one in enumerate(value)]
    else:
        return line
    if not members:
        return line
    for name, one in members:
        line = _walk(one, (*path, name), line + 1, found)
    return line + 1


def _find_undecodable(body: bytes) -> set[int]:
    wrong: set[int] = set()
    start = 0
    while start < len(body):
        try:
            body[start:].decode()
        except UnicodeDecodeError as error:
            wrong.update(range(start + error.start, start + error.end))
            start += error.end
        else:
            break
    return wrong
