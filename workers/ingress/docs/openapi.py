"""Builds the OpenAPI 3.1 document from the route table and the models of the bodies."""

import inspect
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from openapi_pydantic.v3.v3_1 import (
    Components,
    Info,
    MediaType,
    OpenAPI,
    Operation,
    Parameter,
    PathItem,
    RequestBody,
    Response,
    SecurityScheme,
    Server,
)
from openapi_pydantic.v3.v3_1.parameter import ParameterLocation

from infra.web.rate_limits import UNLIMITED
from infra.web.responses import JSON
from schemas.api_keys import KEY_SCOPES
from schemas.scopes import ALL_SCOPES
from workers.ingress.docs.openapi_schemas import (
    ENVELOPE_SCHEMAS,
    STRING,
    BodySchemas,
    build_body_schemas,
    ref,
    to_envelope,
    to_schema,
)
from workers.ingress.route import Route, RouteResponse

PATH_PARAMETER = re.compile(r"\{(\w+)\}")
HEADERS = {
    "If-Match": "The entity tag of the version that you have seen",
    "If-None-Match": "The entity tag of the version that you have",
    "Idempotency-Key": "Makes a repeated request the same request, for a day at least",
    "Prefer": "wait=N: answer with the outcome if it is known within N seconds (at most 30)",
}
# ``in`` is a keyword of Python.
IN_PATH = {"in": ParameterLocation.PATH}
IN_QUERY = {"in": ParameterLocation.QUERY}
IN_HEADER = {"in": ParameterLocation.HEADER}
SECURITY_SCHEMES = {
    "token": SecurityScheme(type="http", scheme="bearer", bearerFormat="JWT"),
    "key": SecurityScheme(type="apiKey", security_scheme_in="header", name="X-API-Key"),
}


def build_openapi(routes: Sequence[Route], probes: Iterable[str]) -> dict[str, Any]:
    """Build the document as JSON, for the routes and the paths of the probes."""
    document = describe_routes(routes, probes)
    # Generated schemas hold plain JSON where the models of the library have nested models.
    return document.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)


def describe_routes(routes: Sequence[Route], probes: Iterable[str]) -> OpenAPI:
    """Describe the routes, and the paths of the probes."""
    bodies, definitions = build_body_schemas(routes)
    operations: dict[str, dict[str, Operation]] = {}
    for route in routes:
        method = route.method.lower()
        operations.setdefault(route.path, {})[method] = _operation(route, bodies)
    for path in probes:
        operations[path] = {"get": _probe(path)}
    return OpenAPI(
        openapi="3.1.0",
        info=Info(
            title="Adrelay",
            version="1",
            description="HTTP calls and signed webhooks become events.",
        ),
        servers=[Server(url="/")],
        paths={path: PathItem.model_validate(item) for path, item in operations.items()},
        components=Components(
            schemas={**ENVELOPE_SCHEMAS, **definitions}, securitySchemes={**SECURITY_SCHEMES}
        ),
    )


def _operation(route: Route, bodies: BodySchemas) -> Operation:
    summary, _, description = inspect.cleandoc(route.handler.__doc__ or "").partition("\n\n")
    operation = Operation(
        operationId=route.name,
        summary=summary,
        tags=[route.tag],
        security=_security(route.scope),
        parameters=[*_parameters(route)],
        responses={
            **{str(one.status): _success(route, one, bodies) for one in route.responses},
            **{str(status): _error(status) for status in _error_statuses(route)},
        },
    )
    if description:
        operation.description = description
    if route.media:
        operation.requestBody = RequestBody(
            required=not route.optional_body,
            content={
                media_type: MediaType(media_type_schema=bodies[route.name, media_type])
                for media_type in route.media
            },
        )
    return operation


def _security(scope: str | None) -> list[dict[str, list[str]]]:
    """List the credentials that can hold the scope: access tokens, API keys, or none needed."""
    if scope is None:
        return []
    held = {"token": scope in ALL_SCOPES, "key": scope in KEY_SCOPES}
    return [{kind: [scope]} for kind, has in held.items() if has]


def _parameters(route: Route) -> list[Parameter]:
    path = [
        Parameter(name=name, required=True, param_schema=STRING, **IN_PATH)
        for name in PATH_PARAMETER.findall(route.path)
    ]
    fields = route.query.model_json_schema()["properties"] if route.query else {}
    query = [
        Parameter(name=name, param_schema=to_schema(schema), **IN_QUERY)
        for name, schema in fields.items()
    ]
    headers = [
        Parameter(name=name, description=HEADERS[name], param_schema=STRING, **IN_HEADER)
        for name in route.headers
    ]
    return path + query + headers


def _success(route: Route, response: RouteResponse, bodies: BodySchemas) -> Response:
    description = HTTPStatus(response.status).phrase
    if response.data is None:
        return Response(description=description)
    schema = bodies[route.name, response.status]
    if response.enveloped:
        schema = to_envelope(schema, paged=response.paged)
    return Response(description=description, content={JSON: MediaType(media_type_schema=schema)})


def _error(status: int) -> Response:
    content = {JSON: MediaType(media_type_schema=ref("Error"))}
    return Response(description=HTTPStatus(status).phrase, content=content)


def _error_statuses(route: Route) -> list[int]:
    """List the error statuses that a route may answer with, besides 500."""
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


def _probe(path: str) -> Operation:
    return Operation(
        operationId=path.strip("/"),
        summary=f"Probe {path}",
        tags=["probes"],
        security=[],
        responses={
            "200": Response(description="OK"),
            "503": Response(description="Not ready"),
        },
    )
