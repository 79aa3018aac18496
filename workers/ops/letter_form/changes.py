"""Reads a form that was sent: which fields it changes, and how."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import orjson

from infra.messaging.dead_letter_content import Changes, DeadLetterContent, InvalidChange
from workers.ops.letter_form.document import ABSENT, find_value, read_document
from workers.ops.letter_form.rows import FormRow
from workers.ops.letter_form.rules import FieldPath, FieldRule

REMOVE = "remove:"  # before the name of a field, in the name of its box


def read_changes(
    content: DeadLetterContent, rows: Sequence[FormRow], form: Mapping[str, str]
) -> Changes:
    """Read the changes of a form that was made from these rows.

    An input that is as it was changes nothing; an empty one removes the field. Raises
    ``InvalidChange`` for what is no JSON in an input that has JSON.
    """
    values: dict[FieldPath, Any] = {}
    removed: list[FieldPath] = []
    for row in rows:
        path, text = row.rule.path, form.get(row.name)
        if row.is_gone:
            continue
        if REMOVE + row.name in form:
            removed.append(path)
        elif text is not None and text != row.text:
            if text:
                values[path] = _parse(row.rule, text)
            elif not row.is_absent:
                removed.append(path)
    document = read_document(content)
    if document is None:
        raise InvalidChange("body", "the body is no JSON object: edit it as JSON")
    return Changes(fields=_anchor(document, values), removed=tuple(removed))


def _parse(rule: FieldRule, text: str) -> Any:  # noqa: ANN401 - any JSON
    """Parse what was typed; a number that is none stays text, and the schema says so."""
    if rule.kind in ("text", "choice"):
        return text
    try:
        found = orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError):
        if rule.kind == "json":
            raise InvalidChange(".".join(rule.path), "this is no JSON") from None
        return text
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    fits = {"number": is_number, "boolean": isinstance(found, bool)}.get(rule.kind, True)
    return found if fits else text


def _anchor(document: Mapping[str, Any], values: Mapping[FieldPath, Any]) -> dict[str, Any]:
    """Write values by dotted path; where a parent is missing, the parent with them."""
    changed = deepcopy(dict(document))
    anchors: dict[FieldPath, None] = {}
    for path, value in values.items():
        place = changed
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value
        missing = (
            length
            for length in range(1, len(path))
            if find_value(document, path[:length]) is ABSENT
        )
        anchors[path[: next(missing, len(path))]] = None
    return {".".join(path): find_value(changed, path) for path in anchors}
