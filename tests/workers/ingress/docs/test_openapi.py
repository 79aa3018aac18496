"""The OpenAPI document is made of the library's fields alone."""

import re
from collections.abc import Iterator
from typing import Any

from openapi_pydantic.v3.v3_1 import OpenAPI, Schema
from pydantic import BaseModel

from events import EVENTS
from workers.ingress.docs.openapi import build_openapi, describe_routes
from workers.ingress.routes import PROBES, ROUTES

BIGINT = 2**63 - 1


def models(value: object) -> Iterator[BaseModel]:
    """Walk through all models; generated schemas are plain JSON inside."""
    if isinstance(value, BaseModel):
        yield value
        parts: Any = [getattr(value, name) for name in value.model_fields_set]
    else:
        parts = value.values() if isinstance(value, dict) else value
    if isinstance(parts, list | dict | type({}.values())):
        for part in parts:
            if isinstance(part, BaseModel | list | dict):
                yield from models(part)


def test_no_field_is_misspelt() -> None:
    """The library keeps fields that it does not know, so mypy lets them pass."""
    found = list(models(describe_routes(ROUTES, PROBES)))
    assert len(found) > len(ROUTES)
    misspelt = [model for model in found if model.model_extra and not isinstance(model, Schema)]
    assert misspelt == []


def test_the_document_is_one_that_the_library_reads() -> None:
    document = build_openapi(ROUTES, PROBES)
    read = OpenAPI.model_validate(document)
    assert read.paths is not None
    assert read.paths.keys() == document["paths"].keys()


def test_bounds_stay_exact() -> None:
    schemas = build_openapi(ROUTES, PROBES)["components"]["schemas"]
    assert schemas["DailyMetrics"]["properties"]["clicks"]["maximum"] == BIGINT


def patterns(value: object) -> Iterator[str]:
    """Walk through the patterns of all schemas in a document."""
    if isinstance(value, dict):
        found = value.get("pattern")
        if isinstance(found, str):
            yield found
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from patterns(part)


def test_patterns_are_written_in_the_dialect_of_json_schema() -> None:
    """ECMA-262 and Python agree on these patterns; Rust's, which pydantic uses, has its own."""
    documents = [build_openapi(ROUTES, PROBES), *(event.model_json_schema() for event in EVENTS)]
    found = {pattern for document in documents for pattern in patterns(document)}
    assert len(found) > 3
    assert not [pattern for pattern in found if r"\x{" in pattern]
    # A lone surrogate can be in no JSON text, so it need not be tried.
    accepted = {p for p in found if p.startswith("^[^") and re.fullmatch(p, "a b\N{SNOWMAN}")}
    assert accepted
    assert not [pattern for pattern in accepted if re.fullmatch(pattern, "a\0b")]
