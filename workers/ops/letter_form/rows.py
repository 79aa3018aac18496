"""Builds the rows of the form: what is there, the schema's rule and error, what it was before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from infra.messaging.dead_letter_content import DeadLetterContent
from workers.ops.letter_form.document import ABSENT, find_value, read_document
from workers.ops.letter_form.rules import (
    FieldKind,
    FieldPath,
    FieldRule,
    find_event_class,
    list_rules,
)

MAX_BODY = 64 * 1024  # bytes; a larger body is edited as JSON
MAX_ROWS = 200
LONG = 60  # characters; a longer text has several lines
UNKNOWN = "the schema has no such field"
EXTENSION = "an extension attribute"


@dataclass(frozen=True, slots=True)
class FormRow:
    """A row: ``text`` is what its input has; ``former`` what came, if that was something else.

    ``is_known`` is false for a field that the schema does not have; ``is_gone`` for one of these
    that was removed.
    """

    rule: FieldRule
    text: str
    is_absent: bool
    errors: Sequence[str] = ()
    former: str | None = None
    is_known: bool = True
    is_gone: bool = False

    @property
    def name(self) -> str:
        """The name of its input: the path as JSON."""
        return "f" + orjson.dumps(self.rule.path).decode()

    @property
    def label(self) -> str:
        """Its path below ``data``, or the attribute's name."""
        return ".".join(self.rule.path[1:] or self.rule.path)

    @property
    def is_attribute(self) -> bool:
        """Whether it is an attribute of the envelope."""
        return self.rule.path[0] != "data"

    @property
    def is_long(self) -> bool:
        """Whether its input has several lines."""
        return self.rule.kind == "json" and len(self.text) > LONG


def build_rows(
    content: DeadLetterContent,
    original: bytes | None,
    errors: Sequence[tuple[FieldPath, str]],
    typed: Mapping[str, str] | None = None,
) -> list[FormRow] | None:
    """Build the rows of a letter; None if it can be edited as JSON alone.

    ``original`` is the body as it came, if it was edited; ``typed`` what a form had that was not
    saved. The order is the same for the same content.
    """
    cls, document = find_event_class(content.routing_key), read_document(content)
    if cls is None or document is None or content.truncated or len(content.body) > MAX_BODY:
        return None
    before = document if original is None else read_document(content, original)
    rules = list(_list_all(list_rules(cls), document, before or {}))
    if len(rules) > MAX_ROWS:
        return None
    return [
        _build_row(rule, is_known, document, before, errors, typed or {})
        for rule, is_known in rules
    ]


def write_value(value: Any, rule: FieldRule) -> str:  # noqa: ANN401 - any JSON
    """Write a value as its input shows it."""
    if value is ABSENT:
        return ""
    if rule.kind != "json":
        if value is None:
            return ""
        if isinstance(value, str):
            return value
    return orjson.dumps(value).decode()


def _list_all(
    rules: Sequence[FieldRule], document: Mapping[str, Any], before: Mapping[str, Any]
) -> Iterator[tuple[FieldRule, bool]]:
    """List the fields of the schema, then those that only the letter has or had."""
    known = {rule.path for rule in rules}
    parents = {path[:length] for path in known for length in range(len(path))}
    for rule in rules:
        blocked = _find_blocked(document, rule.path)
        if blocked is None:
            yield _fit(rule, document), True
    extra = dict.fromkeys(_list_extra(document, known, parents, ()))
    extra |= dict.fromkeys(_list_extra(before, known, parents, ()))
    for path in extra:
        if path in parents:
            yield FieldRule(path, "json", "an object, as JSON"), True
            continue
        value, is_attribute = find_value(document, path), path[0] != "data"
        holds_line = isinstance(value, str) and value.isprintable()
        kind: FieldKind = "text" if holds_line else "json"
        yield FieldRule(path, kind, EXTENSION if is_attribute else UNKNOWN), is_attribute


def _list_extra(
    place: Any,  # noqa: ANN401 - any JSON
    known: set[FieldPath],
    parents: set[FieldPath],
    path: FieldPath,
) -> Iterator[FieldPath]:
    """List the paths without a row of the schema, and its objects that are none here."""
    if not isinstance(place, dict):
        if path:
            yield path
        return
    for name, value in place.items():
        below = (*path, name)
        if below in parents:
            yield from _list_extra(value, known, parents, below)
        elif below not in known:
            yield below


def _find_blocked(document: Mapping[str, Any], path: FieldPath) -> FieldPath | None:
    """Find the parent of a field that is there and is no object."""
    for length in range(1, len(path)):
        value = find_value(document, path[:length])
        if value is not ABSENT and not isinstance(value, dict):
            return path[:length]
    return None


def _fit(rule: FieldRule, document: Mapping[str, Any]) -> FieldRule:
    """Make a row JSON where a line of text cannot hold its value."""
    value = find_value(document, rule.path)
    holds_line = not isinstance(value, dict | list) and (
        not isinstance(value, str) or value.isprintable()
    )
    if rule.kind == "json" or holds_line:
        return rule
    return FieldRule(rule.path, "json", rule.rule, (), rule.required)


def _build_row(
    rule: FieldRule,
    is_known: bool,  # noqa: FBT001 - beside its rule
    document: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    errors: Sequence[tuple[FieldPath, str]],
    typed: Mapping[str, str],
) -> FormRow:
    value = find_value(document, rule.path)
    former = None
    if before is not None and before is not document:
        came = find_value(before, rule.path)
        if type(came) is not type(value) or came != value:
            former = "missing" if came is ABSENT else write_value(came, rule) or "empty"
    row = FormRow(
        rule=rule,
        text=write_value(value, rule),
        is_absent=value is ABSENT,
        errors=[said for place, said in errors if place[: len(rule.path)] == rule.path],
        former=former,
        is_known=is_known,
        is_gone=not is_known and value is ABSENT,
    )
    return replace(row, text=typed.get(row.name, row.text))
