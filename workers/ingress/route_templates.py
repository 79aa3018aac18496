"""Templates of routes: the fields that routes of one kind have in common."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from infra.web.rate_limits import API, UNLIMITED, RateLimitRule
from infra.web.responses import JSON
from schemas.campaigns import Campaign
from schemas.dead_letters import BulkResult
from schemas.queues import PauseResult
from workers.ingress.api.campaign_operations import OperationAccepted
from workers.ingress.http.pagination import PageQuery
from workers.ingress.route import PUBLIC, Route, RouteHandler, RouteResponse


def credentials_route(
    path: str,
    handler: RouteHandler,
    body: type,
    responses: tuple[RouteResponse, ...],
    limit: RateLimitRule,
    headers: tuple[str, ...] = (),
    errors: tuple[int, ...] = (401,),
) -> Route:
    """Build a public route that takes credentials or a token."""
    media = {JSON: body}
    return Route(
        "POST", path, handler, PUBLIC, responses, media, headers=headers, errors=errors, limit=limit
    )


def command_route(
    method: str, path: str, handler: RouteHandler, media: Mapping[str, Any] | None = None
) -> Route:
    """Build a route of a campaign command: 202, or the result if the client waits for it."""
    responses = (RouteResponse(202, OperationAccepted), RouteResponse(200, Campaign))
    headers = ("If-Match", "Idempotency-Key", "Prefer")
    return Route(
        method, path, handler, "campaigns:write", responses, media or {}, headers=headers, limit=API
    )


def list_route(
    path: str, handler: RouteHandler, scope: str, entry: type, query: type[PageQuery]
) -> Route:
    """Build a route that returns a page of a list."""
    responses = (RouteResponse(200, list[entry], paged=True),)  # type: ignore[valid-type]
    return Route("GET", path, handler, scope, responses, query=query, limit=API)


def detail_route(path: str, handler: RouteHandler, scope: str, data: type) -> Route:
    """Build a route that returns one resource."""
    return Route("GET", path, handler, scope, (RouteResponse(200, data),), limit=API)


def update_route(path: str, handler: RouteHandler, scope: str, body: type, data: type) -> Route:
    """Build a route that changes one resource and returns it."""
    responses, media = (RouteResponse(200, data),), {JSON: body}
    return Route("PATCH", path, handler, scope, responses, media, errors=(409,), limit=API)


def action_route(path: str, handler: RouteHandler, query: type[BaseModel] | None = None) -> Route:
    """Build a route of an action on dead letters."""
    responses = (RouteResponse(200, BulkResult),)
    return Route("POST", path, handler, "dead", responses, query=query, errors=(409,), limit=API)


def switch_route(
    path: str, handler: RouteHandler, body: type | None = None, *, optional_body: bool = False
) -> Route:
    """Build a route that pauses or resumes something."""
    return Route(
        "POST",
        path,
        handler,
        "queues",
        (RouteResponse(200, PauseResult),),
        {JSON: body} if body else {},
        optional_body=optional_body,
        errors=(409,),
        limit=API,
    )


def document_route(path: str, handler: RouteHandler) -> Route:
    """Build a public route that returns a document outside the envelope."""
    responses = (RouteResponse(200, dict[str, Any], enveloped=False),)
    return Route("GET", path, handler, PUBLIC, responses, limit=UNLIMITED)
