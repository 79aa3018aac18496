"""Shows the body of an unrecognised webhook, with the lines that its parser objects to. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from workers.ops.event_views.json_lines import JsonToken, Line, indent_json
from workers.ops.pages.letter_reasons import split_reason

MAX_TEXT = 4096  # characters of a body that is no JSON
BROKEN_LINE = re.compile(r"\bat line ([0-9]{1,6})\b")  # in what a JSON parser says


@dataclass(frozen=True, slots=True)
class ShownBody:
    """The lines that are shown, the numbers (from 1) of those at fault, and what is left out."""

    lines: Sequence[Line]
    faults: Mapping[int, str]  # what is wrong, by line
    omitted: str = ""


def show_body(body: str, reason: str) -> ShownBody:
    """Indent a body that is JSON; ``reason`` is what the parser says of it, empty for nothing."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return _show_text(body, reason)
    indented = indent_json(body)
    places = find_places(indented.lines)
    faults: dict[int, str] = {}
    for path, rule in split_reason(reason) if reason else []:
        line = find_line(places, path)
        if line is not None and line <= len(indented.lines):
            faults.setdefault(line, f"{path}: {rule}")
    omitted = f"{indented.omitted:,} more lines" if indented.omitted else ""
    return ShownBody(indented.lines, faults, omitted)


def find_places(lines: Iterable[Line]) -> dict[str, int]:
    """Find the line (from 1) of every field of an indented document, by its dotted path."""
    places: dict[str, int] = {}
    path: list[str] = []
    indexes: list[int | None] = []  # of the open arrays and objects, None for an object
    for number, line in enumerate(lines, start=1):
        name = _read_name(line)
        opens = [text for kind, text in line if not kind and text in ("{", "[")]
        closes = [text for kind, text in line if not kind and text in ("}", "]")]
        if closes and not opens and indexes:
            indexes.pop()
            if path:
                path.pop()
            continue
        if name is None and indexes and indexes[-1] is not None:
            name = str(indexes[-1])
            indexes[-1] += 1
        if name is not None:
            places.setdefault(".".join([*path, name]), number)
        if opens and not closes:
            if name is not None:
                path.append(name)
            indexes.append(None if opens[-1] == "{" else 0)
    return places


def find_line(places: Mapping[str, int], path: str) -> int | None:
    """Find the line of what a parser names: the field, or the nearest one that holds it.

    A parser may name the kind of the body before the field
    (``campaign.metrics_updated.data.spend``).
    """
    wanted = path
    while wanted:
        found = [place for place in places if wanted == place or wanted.endswith(f".{place}")]
        if found:
            return places[max(found, key=len)]
        wanted = wanted.rpartition(".")[0]
    return None


def _show_text(body: str, reason: str) -> ShownBody:
    shown = body[:MAX_TEXT]
    lines: list[Line] = [[("", line)] for line in shown.split("\n")]
    found = BROKEN_LINE.search(reason)
    number = int(found[1]) if found else 0
    faults = {number: reason} if 0 < number <= len(lines) else {}
    omitted = f"{len(body) - MAX_TEXT:,} more characters" if len(body) > MAX_TEXT else ""
    return ShownBody(lines, faults, omitted)


def _read_name(line: Line) -> str | None:
    name: JsonToken | None = next((token for token in line if token[0] == "k"), None)
    if name is None:
        return None
    found = orjson.loads(name[1])
    return found if isinstance(found, str) else None
