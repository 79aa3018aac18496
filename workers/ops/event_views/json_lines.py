"""Indents a JSON document for reading: its tokens stay as they were written."""

import re
from dataclasses import dataclass

# RFC 8259, section 2: a string, a structural character, a number or a literal.
TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")|([{}\[\],:])|([^\s{}\[\],:"]+)', re.DOTALL)
INDENT = "  "
MAX_DEPTH = 24  # levels that are indented further
MAX_LINES = 1000

JsonToken = tuple[str, str]  # the class of a token (k, str, lit or none), its text
Line = list[JsonToken]


@dataclass(frozen=True, slots=True)
class IndentedJson:
    """The lines that are shown, and how many there are besides."""

    lines: list[Line]
    omitted: int


def indent_json(document: str) -> IndentedJson:
    """Indent a valid JSON document; numbers, names and escapes stay as they were written."""
    tokens = [found.groups() for found in TOKEN.finditer(document)]
    lines: list[Line] = [[]]
    depth = 0
    for number, (string, mark, scalar) in enumerate(tokens):
        following = tokens[number + 1][1] if number + 1 < len(tokens) else None
        if string is not None:
            lines[-1].append(("k" if following == ":" else "str", string))
        elif scalar is not None:
            lines[-1].append(("lit", scalar))
        elif mark in ("{", "["):
            lines[-1].append(("", mark))
            depth += 1
            if following not in ("}", "]"):
                _begin_line(lines, depth)
        elif mark in ("}", "]"):
            depth -= 1
            if number and tokens[number - 1][1] not in ("{", "["):
                _begin_line(lines, depth)
            lines[-1].append(("", mark))
        else:
            lines[-1].append(("", ": " if mark == ":" else ","))
            if mark == ",":
                _begin_line(lines, depth)
    return IndentedJson(lines[:MAX_LINES], max(0, len(lines) - MAX_LINES))


def _begin_line(lines: list[Line], depth: int) -> None:
    indent = INDENT * min(depth, MAX_DEPTH)
    lines.append([("", indent)] if indent else [])
