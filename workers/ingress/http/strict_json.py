"""Rejects JSON that parsers read differently (RFC 8259, section 4; I-JSON, RFC 7493).

Parsers disagree about which of two members with one name counts, about ``NaN``, lone surrogates and
integers of more than 64 bits. pydantic accepts some of it; this module names the fields
that must be rejected.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from inspect import isclass
from typing import Any, get_args

from pydantic import BaseModel

from infra.web.errors import MAX_FIELD_ERRORS, FieldError
from workers.ingress.http.field_names import field_path

INTEGER_LIMIT = 2**63  # one more than the largest integer
MAX_DIGITS = 19  # of a 64-bit integer, without its sign
DUPLICATE_NAME = "must be sent once"
# A name of a member ends with a quote and a colon, with or without white space between them.
WHITESPACE_TO_QUOTE = bytes.maketrans(b" \t\n\r", b'""""')
NAME_END = b'":'


@dataclass(frozen=True, slots=True)
class _InvalidNumber:
    """A number that is not JSON or needs more than 64 bits."""

    message: str


class _Members(list[tuple[str, Any]]):
    """The members of an object in the order sent, duplicates included."""


def find_ambiguities(body: bytes) -> list[FieldError]:
    """List every field that parsers read differently; empty for a body that is not JSON."""
    try:
        found = json.loads(
            body,
            object_pairs_hook=_Members,
            parse_constant=lambda _: _InvalidNumber("is not a number of JSON"),
            parse_int=_integer,
            parse_float=_float,
        )
    except (ValueError, RecursionError):
        return []
    return list(dict.fromkeys(_walk(found)))[:MAX_FIELD_ERRORS]


def has_unique_names(body: bytes, *models: BaseModel) -> bool:
    """Whether ``body``, parsed as these models, certainly has no duplicate names.

    Every member has a colon after a quote or white space, so a body with as many of these as
    there are fields has no duplicate. False is no proof of one: text may contain such colons
    too, which is rare; ``find_ambiguities`` decides then, at ten times the cost.
    """
    members = sum(map(_count_members, models))
    return body.translate(WHITESPACE_TO_QUOTE).count(NAME_END) == members


def _count_members(model: BaseModel) -> int:
    count = len(model.__pydantic_fields_set__)
    for name in _parts(type(model)):
        part = getattr(model, name)
        if isinstance(part, BaseModel):
            count += _count_members(part)
    return count


@cache
def _parts(cls: type[BaseModel]) -> tuple[str, ...]:
    """List the fields of a model that may hold a model."""
    models = {
        name: [part for part in (field.annotation, *get_args(field.annotation)) if isclass(part)]
        for name, field in cls.model_fields.items()
    }
    return tuple(
        name for name, parts in models.items() if any(issubclass(part, BaseModel) for part in parts)
    )


def _integer(text: str) -> int | _InvalidNumber:
    if len(text.lstrip("-")) > MAX_DIGITS or not -INTEGER_LIMIT <= int(text) < INTEGER_LIMIT:
        return _InvalidNumber("must have at most 64 bits")
    return int(text)


def _float(text: str) -> float | _InvalidNumber:
    value = float(text)
    return value if math.isfinite(value) else _InvalidNumber("must be a finite number")


def _walk(value: Any) -> Iterator[FieldError]:  # noqa: ANN401 - what JSON can hold
    stack: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, _Members):
            for name, times in Counter(name for name, _ in value).items():
                if times > 1:
                    yield FieldError(field_path((*path, name)), DUPLICATE_NAME)
                if _has_lone_surrogate(name):
                    yield FieldError(field_path(path), "has a name with a lone surrogate")
            stack += [((*path, name), inner) for name, inner in value]
        elif isinstance(value, list):
            stack += [(path, inner) for inner in value]
        elif isinstance(value, _InvalidNumber):
            yield FieldError(field_path(path), value.message)
        elif isinstance(value, str) and _has_lone_surrogate(value):
            yield FieldError(field_path(path), "must be text without lone surrogates")


def _has_lone_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
