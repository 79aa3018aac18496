"""JSON that every reader reads alike (RFC 8259, section 4; I-JSON, RFC 7493).

Of two members with one name each parser picks another one, ``NaN`` is no JSON, a lone surrogate
is no text, and an integer beyond 64 bits is another number for most readers. Our parser lets
some of it pass; here it is refused, with the name of the field.
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

from workers.ingress.http.errors import FieldError
from workers.ingress.http.field_names import field_path

INTEGER_LIMIT = 2**63  # of an integer, without its sign
MAX_DIGITS = 19  # that such an integer has at most
MAX_FIELD_ERRORS = 50  # details
DUPLICATE_NAME = "must be sent once"
MEMBER = b'":'


@dataclass(frozen=True, slots=True)
class _Wrong:
    """A number that JSON or 64 bits do not hold."""

    message: str


class _Members(list[tuple[str, Any]]):
    """The members of an object as they were sent."""


def find_ambiguities(body: bytes) -> list[FieldError]:
    """Name every field of which readers disagree; none for what is no JSON at all."""
    try:
        found = json.loads(
            body,
            object_pairs_hook=_Members,
            parse_constant=lambda _: _Wrong("is not a number of JSON"),
            parse_int=_integer,
            parse_float=_float,
        )
    except (ValueError, RecursionError):
        return []
    return list(dict.fromkeys(_walk(found)))[:MAX_FIELD_ERRORS]


def has_unique_names(body: bytes, *read: BaseModel) -> bool:
    """Tell whether ``body``, read as these models, is sure to have no member twice.

    A colon after a quote ends the name of a member: where there are as many as there are
    fields, none stands twice. Text with such a colon in it is rare; then it is not sure.
    """
    if b" :" in body or b"\t:" in body or b"\n:" in body or b"\r:" in body:
        return False
    members = 0
    for model in read:
        members += _count_members(model)
    return body.count(MEMBER) == members


def _count_members(model: BaseModel) -> int:
    count = len(model.__pydantic_fields_set__)
    for name in _parts(type(model)):
        part = getattr(model, name)
        if isinstance(part, BaseModel):
            count += _count_members(part)
    return count


@cache
def _parts(cls: type[BaseModel]) -> tuple[str, ...]:
    """Name the fields of a model that may hold a model."""
    models = {
        name: [part for part in (field.annotation, *get_args(field.annotation)) if isclass(part)]
        for name, field in cls.model_fields.items()
    }
    return tuple(
        name for name, parts in models.items() if any(issubclass(part, BaseModel) for part in parts)
    )


def _integer(text: str) -> int | _Wrong:
    if len(text.lstrip("-")) > MAX_DIGITS or not -INTEGER_LIMIT <= int(text) < INTEGER_LIMIT:
        return _Wrong("must have at most 64 bits")
    return int(text)


def _float(text: str) -> float | _Wrong:
    value = float(text)
    return value if math.isfinite(value) else _Wrong("must be a finite number")


def _walk(found: Any) -> Iterator[FieldError]:  # noqa: ANN401 - what JSON can hold
    waiting: list[tuple[tuple[str, ...], Any]] = [((), found)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, _Members):
            for name, times in Counter(name for name, _ in value).items():
                if times > 1:
                    yield FieldError(field_path((*place, name)), DUPLICATE_NAME)
                if _is_broken(name):
                    yield FieldError(field_path(place), "has a name with a lone surrogate")
            waiting += [((*place, name), inner) for name, inner in value]
        elif isinstance(value, list):
            waiting += [(place, inner) for inner in value]
        elif isinstance(value, _Wrong):
            yield FieldError(field_path(place), value.message)
        elif isinstance(value, str) and _is_broken(value):
            yield FieldError(field_path(place), "must be text without lone surrogates")


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
