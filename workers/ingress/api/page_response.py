"""Responses to list routes: one page and its place among all pages."""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from workers.ingress.context import RequestContext
from workers.ingress.http.pagination import PageQuery, pagination
from workers.ingress.http.responses import success

# Reads one page and the total number of items on all pages.
Listing = Callable[[AsyncConnection], Awaitable[tuple[Sequence[BaseModel], int]]]


async def page_response(
    context: RequestContext, query: PageQuery, listing: Listing, what: str
) -> web.Response:
    """Respond with one page of ``listing``; raises an ``HttpError`` (503) without Postgres."""
    found, total = await context.read(listing, what)
    pages = pagination(total, query.page, query.per_page)
    return success(context.request_id, found, pagination=pages)
