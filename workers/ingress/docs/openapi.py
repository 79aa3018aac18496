"""The routes as an OpenAPI 3.1 document, made from the route table and the models."""

import inspect
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from schemas.api_keys import KEY_SCOPES
from schemas.scopes import ALL_SCOPES
from workers.ingress.http.rate_limits import UNLIMITED
from workers.ingress.http.responses import JSON
from workers.ingress.route import Route, RouteResponse

SCHEMA_REF = "#/components/schemas/{model}"
PARAMETER = re.compile(r"\{(\w+)\}")
HEADERS = {
    "If-Match": "The entity tag of the version that you have seen",
    "If-None-Match": "The entity tag of the version that you have",
    "Idempotency-Key": "Makes a repeated request the same request, for a day at least",
    "Prefer": "wait=N: answer with the outcome if it is known within N seconds (at most 30)",
}
SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
META = {
    "type": "object",
    "required": ["timestamp", "request_id"],
    "properties": {
        "timestamp": {"type": "string", "format": "date-time"},
        "request_id": {"type": "string"},
    },
}
PAGINATION = {
    "type": "object",
    "required": ["total", "page", "per_page", "total_pages", "has_next", "has_prev"],
    "properties": {
        **{name: {"type": "integer"} for name in ("total", "page", "per_page", "total_pages")},
        **{name: {"type": "boolean"} for name in ("has_next", "has_prev")},
    },
}
DETAIL = {
    "type": "object",
    "required": ["field", "message"],
    "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
}
ERROR = {
    "type": "object",
    "required": ["success", "error", "meta"],
    "properties": {
        "success": {"const": False},
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "array", "items": DETAIL},
            },
        },
        "meta": {"$ref": "#/components/schemas/Meta"},
    },
}

Schemas = dict[tuple[int, JsonSchemaMode], dict[str, Any]]


def build_openapi(routes: Sequence[Route], probes: Iterable[str]) -> dict[str, Any]:
    """Describe the routes, and the paths of the probes beside them."""
    schemas, definitions = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    for path in probes:
        paths[path] = {"get": _probe(path)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Adrelay",
            "version": "1",
            "description": "HTTP calls and signed webhooks become events.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Meta": META, "Pagination": PAGINATION, "Error": ERROR, **definitions},
            "securitySchemes": SECURITY,
        },
    }


def _schemas(routes: Sequence[Route]) -> tuple[Schemas, dict[str, Any]]:
    """Make the schema of every type that routes name, by the type's identity."""
    read = [shape for route in routes for shape in route.media.values()]
    written = [answer.data for route in routes for answer in route.responses if answer.data]
    wanted: dict[tuple[int, JsonSchemaMode], TypeAdapter[Any]] = {
        **{(id(shape), "validation"): TypeAdapter(shape) for shape in read},
        **{(id(shape), "serialization"): TypeAdapter(shape) for shape in written},
    }
    inputs = [(name, mode, adapter) for (name, mode), adapter in wanted.items()]
    made, definitions = TypeAdapter.json_schemas(inputs, by_alias=False, ref_template=SCHEMA_REF)
    return dict(made), definitions.get("$defs", {})


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    summary, _, description = inspect.cleandoc(route.handler.__doc__ or "").partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": summary,
        "tags": [route.tag],
        "security": _security(route.scope),
        "parameters": _parameters(route),
        "responses": {
            **{str(a.status): _good(a, schemas) for a in route.responses},
            **{str(status): _bad(status) for status in _errors(route)},
        },
    }
    if description:
        operation["description"] = description
    if route.media:
        content = {
            kind: {"schema": schemas[id(shape), "validation"]}
            for kind, shape in route.media.items()
        }
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _security(scope: str | None) -> list[dict[str, list[str]]]:
    """Tell who may: accounts by token, API keys, with the scope that either needs."""
    if scope is None:
        return []
    held = {"token": scope in ALL_SCOPES, "key": scope in KEY_SCOPES}
    return [{kind: [scope]} for kind, has in held.items() if has]


def _parameters(route: Route) -> list[dict[str, Any]]:
    path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in PARAMETER.findall(route.path)
    ]
    headers = [
        {"name": name, "in": "header", "description": HEADERS[name], "schema": {"type": "string"}}
        for name in route.headers
    ]
    if route.query is None:
        return path + headers
    fields = route.query.model_json_schema()["properties"]
    query = [{"name": name, "in": "query", "schema": schema} for name, schema in fields.items()]
    return path + query + headers


def _good(answer: RouteResponse, schemas: Schemas) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(answer.status).phrase}
    if answer.data is None:
        return response
    schema = schemas[id(answer.data), "serialization"]
    if answer.enveloped:
        schema = _enveloped(schema, paged=answer.paged)
    response["content"] = {JSON: {"schema": schema}}
    return response


def _enveloped(data: dict[str, Any], *, paged: bool) -> dict[str, Any]:
    parts = {
        "success": {"const": True},
        "data": data,
        "meta": {"$ref": SCHEMA_REF.format(model="Meta")},
    }
    if paged:
        parts["pagination"] = {"$ref": SCHEMA_REF.format(model="Pagination")}
    return {"type": "object", "required": list(parts), "properties": parts}


def _bad(status: int) -> dict[str, Any]:
    schema = {"$ref": SCHEMA_REF.format(model="Error")}
    return {"description": HTTPStatus(status).phrase, "content": {JSON: {"schema": schema}}}


def _errors(route: Route) -> list[int]:
    """List the errors that a route may answer with, beside 500."""
    found = {503}
    if route.media:
        found |= {400, 413, 415}
    if route.query is not None or "Idempotency-Key" in route.headers:
        found.add(400)
    if route.scope is not None:
        found |= {401, 403}
    if route.limit is not UNLIMITED:
        found.add(429)
    if "{" in route.path:
        found.add(404)
    if "If-Match" in route.headers:
        found |= {412, 428}
    if "Idempotency-Key" in route.headers and route.scope is not None:
        found.add(422)
    return sorted(found | set(route.errors))


def _probe(path: str) -> dict[str, Any]:
    return {
        "operationId": path.strip("/"),
        "summary": f"Probe {path}",
        "tags": ["probes"],
        "security": [],
        "responses": {"200": {"description": "OK"}, "503": {"description": "Not ready"}},
    }
