"""Lists in pages, which count from 1."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.types import FrozenModel
from workers.ingress.http.request import RequestContext
from workers.ingress.http.responses import success

# Reads a page, and tells how many there are on all pages.
Listing = Callable[[AsyncConnection], Awaitable[tuple[Sequence[BaseModel], int]]]


class PageQuery(FrozenModel):
    """Which page of a list, and how long it is."""

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    per_page: Annotated[int, Field(ge=1, le=100)] = 20


async def page_response(
    context: RequestContext, query: PageQuery, listing: Listing, what: str
) -> web.Response:
    """Answer a page of what the database lists; raises a ``Refusal`` (503) without it."""
    found, total = await context.read(listing, what)
    pages = pagination(total, query.page, query.per_page)
    return success(context.request_id, found, pagination=pages)


def pagination(total: int, page: int, per_page: int) -> dict[str, object]:
    """Tell where a page stands among all pages."""
    pages = -(-total // per_page)
    return {
        "total": total,
        "page": page,
        "per_page": per_page,
        "total_pages": pages,
        "has_next": page < pages,
        "has_prev": page > 1 and pages > 0,
    }
