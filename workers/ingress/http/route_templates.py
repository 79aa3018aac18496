"""Kinds of routes that occur again and again: what those of a kind have in common."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from schemas.campaigns import Campaign
from schemas.dead_letters import Handled
from workers.ingress.api.campaign_commands import OperationAccepted
from workers.ingress.http.pagination import PageQuery
from workers.ingress.http.rate_limits import API, FREE, Limit
from workers.ingress.http.responses import JSON
from workers.ingress.http.route import ANYONE, Answer, Handler, Route


def login(
    path: str,
    handler: Handler,
    body: type,
    answers: tuple[Answer, ...],
    limit: Limit,
    headers: tuple[str, ...] = (),
    errors: tuple[int, ...] = (401,),
) -> Route:
    """Take credentials or a token, from anybody."""
    media = {JSON: body}
    return Route(
        "POST", path, handler, ANYONE, answers, media, headers=headers, errors=errors, limit=limit
    )


def wish(method: str, path: str, handler: Handler, media: Mapping[str, Any] | None = None) -> Route:
    """Ask for a change of a campaign: accepted, or done if it comes in time."""
    answers = (Answer(202, OperationAccepted), Answer(200, Campaign))
    headers = ("If-Match", "Idempotency-Key", "Prefer")
    return Route(
        method, path, handler, "campaigns:write", answers, media or {}, headers=headers, limit=API
    )


def page(path: str, handler: Handler, scope: str, entry: type, query: type[PageQuery]) -> Route:
    """Answer a page of a list."""
    answers = (Answer(200, list[entry], paged=True),)  # type: ignore[valid-type]
    return Route("GET", path, handler, scope, answers, query=query, limit=API)


def one(path: str, handler: Handler, scope: str, data: type) -> Route:
    """Answer one thing."""
    return Route("GET", path, handler, scope, (Answer(200, data),), limit=API)


def edit(path: str, handler: Handler, scope: str, body: type, data: type) -> Route:
    """Change one thing, and answer what it is then."""
    answers, media = (Answer(200, data),), {JSON: body}
    return Route("PATCH", path, handler, scope, answers, media, errors=(409,), limit=API)


def deed(path: str, handler: Handler, query: type[BaseModel] | None = None) -> Route:
    """Do something about dead letters."""
    answers = (Answer(200, Handled),)
    return Route("POST", path, handler, "dead", answers, query=query, errors=(409,), limit=API)


def document(path: str, handler: Handler) -> Route:
    """Answer a document that is outside the envelope, to anybody."""
    answers = (Answer(200, dict[str, Any], enveloped=False),)
    return Route("GET", path, handler, ANYONE, answers, limit=FREE)
