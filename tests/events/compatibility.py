"""Compares two JSON Schemas of an event type and describes incompatible changes; pure functions.

Events of a shipped version are in queues, in the event log and in other systems. So the new
schema must allow whatever the old one allowed, and a field must stay, with its default. New
fields must be optional.

The comparison knows the keywords that pydantic generates. A difference in any other keyword is
reported as a break; add the keyword here if one appears.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

# Documentation only, or compared separately below.
SAID = frozenset({"title", "description", "examples", "$defs", "$ref", "anyOf", "oneOf"})
SHAPE = frozenset({"type", "enum", "const", "default", "properties", "required"})
PARTS = frozenset({"additionalProperties", "items", "prefixItems"})
# Keywords that bound the same value; 1 if a larger number is stricter, else -1.
BOUNDS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("minimum", "exclusiveMinimum"), 1),
    (("maximum", "exclusiveMaximum"), -1),
    (("minLength",), 1),
    (("maxLength",), -1),
    (("minItems",), 1),
    (("maxItems",), -1),
)
KNOWN = SAID | SHAPE | PARTS | {name for names, _ in BOUNDS for name in names}
WIDER = {"integer": {"integer", "number"}}
ABSENT = object()


@dataclass(frozen=True, slots=True)
class Place:
    """A schema within its document; ``path`` is its position, for messages."""

    path: str
    document: Schema
    schema: Schema

    @classmethod
    def of(cls, path: str, document: Schema, schema: Schema) -> "Place":
        """Resolve a reference into ``$defs``; keywords beside the reference apply too."""
        while "$ref" in schema:
            target = document["$defs"][schema["$ref"].removeprefix("#/$defs/")]
            schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        return cls(path, document, schema)

    def down(self, name: str, schema: Schema) -> "Place":
        """Return a part of this schema."""
        return Place.of(f"{self.path}.{name}".lstrip("."), self.document, schema)

    def alternatives(self) -> list["Place"]:
        """List the alternatives of ``anyOf`` or ``oneOf``; otherwise the schema itself."""
        choices = [*self.schema.get("anyOf", ()), *self.schema.get("oneOf", ())]
        return [Place.of(self.path, self.document, choice) for choice in choices] or [self]


def breaks(old: Schema, new: Schema) -> list[str]:
    """List what ``new`` breaks of ``old``; an empty list means compatible."""
    return list(_breaks(Place.of("", old, old), Place.of("", new, new)))


def _breaks(old: Place, new: Place) -> Iterator[str]:
    yield from _default(old, new)
    choices = new.alternatives()
    for alternative in old.alternatives():
        attempts = [list(_one(alternative, choice)) for choice in choices]
        if all(attempts):
            yield from min(attempts, key=len)


def _one(old: Place, new: Place) -> Iterator[str]:
    yield from _type(old, new)
    yield from _values(old, new)
    yield from _limits(old, new)
    yield from _fields(old, new)
    yield from _elements(old, new)
    for keyword in sorted((old.schema.keys() | new.schema.keys()) - KNOWN):
        after = new.schema.get(keyword, ABSENT)
        # A removed rule allows more; a new or changed one may allow less.
        if after is not ABSENT and after != old.schema.get(keyword, ABSENT):
            yield _say(old, f"{keyword} is another or new")


def _default(old: Place, new: Place) -> Iterator[str]:
    if "default" in old.schema and old.schema["default"] != new.schema.get("default", ABSENT):
        yield _say(old, "its default is another")


def _type(old: Place, new: Place) -> Iterator[str]:
    before, after = old.schema.get("type"), new.schema.get("type")
    if after is not None and after not in WIDER.get(str(before), {before}):
        yield _say(old, f"its type was {before} and is {after}")


def _values(old: Place, new: Place) -> Iterator[str]:
    before, after = _allowed(old.schema), _allowed(new.schema)
    if after is None:
        return
    if before is None:
        yield _say(old, "only certain values are allowed now")
        return
    gone = [value for value in before if value not in after]
    if gone:
        yield _say(old, f"the values {gone} are gone")


def _allowed(schema: Schema) -> Sequence[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _limits(old: Place, new: Place) -> Iterator[str]:
    for names, sign in BOUNDS:
        before, after = (_strictest(place.schema, names, sign) for place in (old, new))
        if after is not None and (before is None or after > before):
            yield _say(old, f"{names[0]} allows less than before")


def _strictest(schema: Schema, names: Sequence[str], sign: int) -> tuple[float, bool] | None:
    found = [
        (sign * schema[name], name.startswith("exclusive")) for name in names if name in schema
    ]
    return max(found, default=None)


def _fields(old: Place, new: Place) -> Iterator[str]:
    before, after = old.schema.get("properties", {}), new.schema.get("properties", {})
    for name in before:
        if name not in after:
            yield _say(old.down(name, before[name]), "it is gone")
        else:
            yield from _breaks(old.down(name, before[name]), new.down(name, after[name]))
    for name in sorted({*new.schema.get("required", ())} - {*old.schema.get("required", ())}):
        yield _say(new.down(name, after.get(name, {})), "it is required now")
    if not _is_closed(old.schema) and _is_closed(new.schema):
        yield _say(old, "unknown fields are refused now")


def _values_of_map(schema: Schema) -> Schema | None:
    values = schema.get("additionalProperties")
    return values if isinstance(values, Mapping) else None


def _is_closed(schema: Schema) -> bool:
    return schema.get("additionalProperties", True) is False


def _elements(old: Place, new: Place) -> Iterator[str]:
    yield from _element("[]", old, new, old.schema.get("items"), new.schema.get("items"))
    yield from _element("{}", old, new, _values_of_map(old.schema), _values_of_map(new.schema))
    before, after = old.schema.get("prefixItems", ()), new.schema.get("prefixItems", ())
    for index, schema in enumerate(after):
        earlier = before[index] if index < len(before) else None
        yield from _element(f"[{index}]", old, new, earlier, schema)


def _element(
    name: str, old: Place, new: Place, before: Schema | None, after: Schema | None
) -> Iterator[str]:
    if after is None:
        return
    if before is None:
        yield _say(old, f"{name} must be of a certain shape now")
    else:
        yield from _breaks(old.down(name, before), new.down(name, after))


def _say(place: Place, what: str) -> str:
    return f"{place.path or 'event'}: {what}"
