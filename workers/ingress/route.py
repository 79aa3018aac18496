"""One route: its place, its handler, who may use it, and what its documents say of it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from workers.ingress.context import RequestContext
from workers.ingress.http.rate_limits import RateLimitRule

Handler = Callable[[RequestContext], Awaitable[web.Response]]

PUBLIC = None  # the scope of a route that is open to all


@dataclass(frozen=True, slots=True)
class RouteResponse:
    """A good answer: its status and the type of its ``data``.

    ``enveloped`` tells whether ``data`` stands in the envelope or is the whole body;
    ``paged`` whether the envelope has a ``pagination``.
    """

    status: int
    data: Any = None
    enveloped: bool = True
    paged: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A line of the route table; ``{name}`` in ``path`` is a parameter.

    ``scope`` is what a caller has to hold; ``None``: the route is open to all.
    """

    method: str
    path: str
    handler: Handler
    scope: str | None
    responses: tuple[RouteResponse, ...]
    media: Mapping[str, Any] = field(default_factory=dict)  # media type -> shape of the body
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()  # request headers with a meaning
    errors: tuple[int, ...] = ()  # beside those that follow from the rest
    limit: RateLimitRule = field(kw_only=True)  # how much a caller may ask of it

    @property
    def name(self) -> str:
        """The operation's name in the documents: the handler's."""
        return self.handler.__name__

    @property
    def tag(self) -> str:
        """The noun that it is about, by which the documents are ordered."""
        return self.path.removeprefix("/api/v1").split("/")[1].removesuffix(".json")
