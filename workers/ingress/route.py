"""A route: method, path, handler, scope, rate limit, and what OpenAPI says about it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from infra.web.rate_limits import RateLimitRule
from workers.ingress.context import RequestContext

RouteHandler = Callable[[RequestContext], Awaitable[web.Response]]

PUBLIC = None  # the scope of a route without authentication


@dataclass(frozen=True, slots=True)
class RouteResponse:
    """A successful response: its status and the type of its ``data``.

    ``enveloped``: ``data`` is inside the envelope, else it is the whole body. ``paged``: the
    envelope has a ``pagination``.
    """

    status: int
    data: Any = None
    enveloped: bool = True
    paged: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A line of the route table; ``{name}`` in ``path`` is a parameter.

    ``scope`` is the scope that a principal needs; ``PUBLIC``: no authentication.
    """

    method: str
    path: str
    handler: RouteHandler
    scope: str | None
    responses: tuple[RouteResponse, ...]
    media: Mapping[str, Any] = field(default_factory=dict)  # media type -> type of the body
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()  # request headers that the handler reads
    errors: tuple[int, ...] = ()  # besides those that follow from the other fields
    # Whether a request may have no body, although ``media`` names some.
    optional_body: bool = field(default=False, kw_only=True)
    limit: RateLimitRule = field(kw_only=True)  # counted per principal or address

    @property
    def name(self) -> str:
        """The operation id in OpenAPI: the name of the handler."""
        return self.handler.__name__

    @property
    def tag(self) -> str:
        """The resource, by which OpenAPI groups operations."""
        return self.path.removeprefix("/api/v1").split("/")[1].removesuffix(".json")
