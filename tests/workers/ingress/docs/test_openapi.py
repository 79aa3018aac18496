"""The OpenAPI document is made of the library's fields alone."""

from collections.abc import Iterator
from typing import Any

from openapi_pydantic.v3.v3_1 import OpenAPI, Schema
from pydantic import BaseModel

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
