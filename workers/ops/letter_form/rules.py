"""Reads the JSON schema of an event type: which fields it has, and each one's rule in words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from events import EVENT_TYPES
from events.envelope import Event
from infra.messaging.routing_key import parse_event_type

FieldPath = tuple[str, ...]  # ("data", "targeting", "interests")
FieldKind = Literal["text", "number", "boolean", "choice", "json"]

MAX_DEPTH = 4  # of objects that have rows of their own; deeper ones are JSON
FORMATS: Mapping[str, str] = {
    "date": "a day in UTC, as 2026-11-29",
    "date-time": "a time with its offset, as 2026-11-29T13:30:00Z",
    "uuid": "a UUID",
}
ANYTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class FieldRule:
    """A field of the schema: ``rule`` says in words what it must be; ``choices`` are its values."""

    path: FieldPath
    kind: FieldKind
    rule: str
    choices: Sequence[str] = ()
    required: bool = False


def find_event_class(routing_key: str) -> type[Event] | None:
    """Find the class of the event that a routing key names; None for an unknown type."""
    return EVENT_TYPES.get(parse_event_type(routing_key))


@cache
def list_rules(cls: type[Event]) -> tuple[FieldRule, ...]:
    """List the fields of an event type, in the order of its schema: the envelope, then data."""
    schema = cls.model_json_schema()
    rules = tuple(_walk(schema, schema, ()))
    envelope = tuple(rule for rule in rules if rule.path[0] != "data")
    return (*envelope, *(rule for rule in rules if rule.path[0] == "data"))


def _walk(
    root: Mapping[str, Any], schema: Mapping[str, Any], path: FieldPath
) -> Iterator[FieldRule]:
    required = frozenset(schema.get("required", ()))
    for name, found in schema["properties"].items():
        below = (*path, name)
        options = _list_options(root, found)
        whole = {**found, **(options[0] if options else ANYTHING)}
        if len(options) == 1 and "properties" in whole and len(below) < MAX_DEPTH:
            yield from _walk(root, whole, below)
        else:
            yield _build_rule(below, options, whole, is_required=name in required)


def _list_options(root: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List what a value may be, apart from null."""
    if "$ref" in schema:
        return _list_options(root, root["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" not in schema:
        return [schema]
    found = [option for one in schema["anyOf"] for option in _list_options(root, one)]
    return [option for option in found if option.get("type") != "null"]


def _build_rule(
    path: FieldPath,
    options: Sequence[Mapping[str, Any]],
    schema: Mapping[str, Any],
    *,
    is_required: bool,
) -> FieldRule:
    kinds = {str(option.get("type", "")) for option in options}
    kind: FieldKind = "json"
    choices = tuple(str(value) for value in schema.get("enum", ()))
    if choices and kinds == {"string"}:
        kind, rule = "choice", _join(choices)
    elif kinds == {"boolean"}:
        kind, choices, rule = "boolean", ("true", "false"), "true or false"
    elif kinds & {"integer", "number"} and kinds <= {"integer", "number", "string"}:
        kind, rule = "number", _describe_number(schema)
    elif kinds == {"string"}:
        kind, rule = "text", _describe_text(schema)
    else:
        rule = _describe_list(schema) if kinds == {"array"} else "as JSON"
    default = schema.get("default")
    if default is not None and kind == "choice":
        rule = f"{rule}; {default} if it is left out"
    elif not is_required and path[0] == "data":
        rule = f"{rule}; may be left out"
    return FieldRule(path, kind, rule, choices, is_required)


def _describe_number(schema: Mapping[str, Any]) -> str:
    what = "a whole number" if schema.get("type") == "integer" else "a number"
    if "exclusiveMinimum" in schema:
        return f"{what}, more than {schema['exclusiveMinimum']:g}"
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None:
        return what
    return f"{what}, {least:g} or more" if most is None else f"{what}, {least:,} to {most:,}"


def _describe_text(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return f"always {schema['const']}"
    if (found := FORMATS.get(schema.get("format", ""))) is not None:
        return found
    if description := schema.get("description"):
        return str(description)
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    return "a text" if most is None else f"a text of {least:,} to {most:,} characters"


def _describe_list(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if most is None:
        return "a list, as JSON"
    number = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    return f"a list of {number} values, as JSON"


def _join(choices: Sequence[str]) -> str:
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last
