"""Breaking and compatible edits of a shipped event type, as a table."""

from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import ConfigDict, Field, create_model

from schemas.types import FrozenModel
from tests.events.compatibility import breaks

Fields = dict[str, Any]

Targeting = create_model("Targeting", __base__=FrozenModel, ages=(tuple[int, int], ...))
Wider = create_model("Targeting", __base__=Targeting, region=(str, "all"))
Narrower = create_model(
    "Targeting", __base__=FrozenModel, ages=(Annotated[list[int], Field(max_length=2)], ...)
)
Elder = create_model(
    "Targeting", __base__=FrozenModel, ages=(tuple[Annotated[int, Field(ge=18)], int], ...)
)

REFUSED: list[tuple[str, Fields, Fields]] = [
    ("a field is gone", {"name": str, "budget": int}, {"name": str}),
    ("an optional field is gone", {"name": str, "note": (str, "")}, {"name": str}),
    ("a field has another name", {"budget": int}, {"amount": int}),
    ("a field is new and required", {"name": str}, {"name": str, "budget": int}),
    ("a field is required now", {"budget": (int, 0)}, {"budget": int}),
    ("text became a number", {"name": str}, {"name": int}),
    ("a number became whole", {"budget": float}, {"budget": int}),
    ("null is refused now", {"note": str | None}, {"note": str}),
    ("one of two types is gone", {"key": int | str}, {"key": str}),
    ("a choice is gone", {"mode": Literal["a", "b"]}, {"mode": Literal["a"]}),
    ("a choice has another name", {"mode": Literal["a", "b"]}, {"mode": Literal["a", "c"]}),
    ("only choices are allowed now", {"mode": str}, {"mode": Literal["a", "b"]}),
    ("text must be an id now", {"key": str}, {"key": UUID}),
    ("text must match now", {"key": str}, {"key": Annotated[str, Field(pattern="^a")]}),
    (
        "text must match something else",
        {"key": Annotated[str, Field(pattern="^a")]},
        {"key": Annotated[str, Field(pattern="^b")]},
    ),
    ("text must not be empty now", {"name": str}, {"name": Annotated[str, Field(min_length=1)]}),
    (
        "text must be shorter",
        {"name": Annotated[str, Field(max_length=100)]},
        {"name": Annotated[str, Field(max_length=99)]},
    ),
    (
        "zero is refused now",
        {"budget": Annotated[int, Field(ge=0)]},
        {"budget": Annotated[int, Field(gt=0)]},
    ),
    ("there is a highest number now", {"age": int}, {"age": Annotated[int, Field(le=120)]}),
    (
        "fewer elements are allowed",
        {"tags": Annotated[list[str], Field(max_length=100)]},
        {"tags": Annotated[list[str], Field(max_length=10)]},
    ),
    ("elements are of another type", {"tags": list[str]}, {"tags": list[int]}),
    ("a pair became a list", {"targeting": Targeting}, {"targeting": Narrower}),
    ("a limit deep inside is narrower", {"targeting": Targeting}, {"targeting": Elder}),
    ("a value of a map is of another type", {"tags": dict[str, str]}, {"tags": dict[str, int]}),
    ("a multiple is demanded now", {"step": int}, {"step": Annotated[int, Field(multiple_of=5)]}),
    ("a default means something else", {"mode": (str, "total")}, {"mode": (str, "delta")}),
    ("a default is gone but null is allowed", {"note": (str, "")}, {"note": (str | None, None)}),
]

ALLOWED: list[tuple[str, Fields, Fields]] = [
    ("nothing changes", {"name": str, "budget": int}, {"name": str, "budget": int}),
    ("the fields stand in another order", {"a": str, "b": int}, {"b": int, "a": str}),
    ("an optional field is new", {"name": str}, {"name": str, "note": (str | None, None)}),
    ("a field became optional", {"budget": int}, {"budget": (int, 0)}),
    ("null is allowed too", {"note": str}, {"note": str | None}),
    ("another type is allowed too", {"key": int}, {"key": int | str}),
    ("the types stand in another order", {"key": int | str}, {"key": str | int}),
    ("a whole number may have decimals", {"budget": int}, {"budget": float}),
    ("a choice is new", {"mode": Literal["a"]}, {"mode": Literal["a", "b"]}),
    ("anything may be chosen", {"mode": Literal["a", "b"]}, {"mode": str}),
    ("text need not match", {"key": Annotated[str, Field(pattern="^a")]}, {"key": str}),
    (
        "text may be longer",
        {"name": Annotated[str, Field(max_length=99)]},
        {"name": Annotated[str, Field(max_length=100)]},
    ),
    (
        "zero is allowed now",
        {"budget": Annotated[int, Field(gt=0)]},
        {"budget": Annotated[int, Field(ge=0)]},
    ),
    ("there is no highest number", {"age": Annotated[int, Field(le=120)]}, {"age": int}),
    ("an optional field deep inside", {"targeting": Targeting}, {"targeting": Wider}),
    (
        "the same in other words",
        {"name": Annotated[str, Field(description="how it is called")]},
        {"name": Annotated[str, Field(description="its name", title="Name")]},
    ),
]


def schema_of(fields: Fields) -> dict[str, Any]:
    made = {name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in fields.items()}
    model: type[FrozenModel] = create_model("Data", __base__=FrozenModel, **made)  # type: ignore[call-overload]
    return model.model_json_schema()


def names(table: list[tuple[str, Fields, Fields]]) -> list[str]:
    return [name for name, _, _ in table]


@pytest.mark.parametrize(("_name", "old", "new"), REFUSED, ids=names(REFUSED))
def test_a_breaking_edit_is_refused(_name: str, old: Fields, new: Fields) -> None:
    assert breaks(schema_of(old), schema_of(new))


@pytest.mark.parametrize(("_name", "old", "new"), ALLOWED, ids=names(ALLOWED))
def test_an_additive_edit_is_allowed(_name: str, old: Fields, new: Fields) -> None:
    assert breaks(schema_of(old), schema_of(new)) == []


def test_to_refuse_unknown_fields_is_a_break() -> None:
    class Open(FrozenModel):
        model_config = ConfigDict(extra="allow")

    class Closed(FrozenModel):
        pass

    assert breaks(Open.model_json_schema(), Closed.model_json_schema()) == [
        "event: unknown fields are refused now"
    ]
    assert breaks(Closed.model_json_schema(), Open.model_json_schema()) == []


def test_a_break_says_where_it_is() -> None:
    found = breaks(schema_of({"targeting": Targeting}), schema_of({"targeting": Elder}))

    assert found == ["targeting.ages.[0]: minimum allows less than before"]
