"""Responses to list routes: one page and its place among all pages."""

from collections.abc import Sequence
from typing import ParamSpec

from aiohttp import web
from pydantic import BaseModel

from infra.web.database import Query
from infra.web.responses import success
from workers.ingress.context import RequestContext
from workers.ingress.http.pagination import PageQuery, pagination

P = ParamSpec("P")
ListPage = tuple[Sequence[BaseModel], int]  # the items of one page, and the number on all pages


async def page_response(
    context: RequestContext,
    query: PageQuery,
    what: str,
    list_items: Query[P, ListPage],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> web.Response:
    """Respond with the page that ``list_items(connection, *args, **kwargs)`` reads.

    Raises an ``HttpError`` (503) when Postgres is down; its message names ``what``.
    """
    items, total = await context.read(what, list_items, *args, **kwargs)
    pages = pagination(total, query.page, query.per_page)
    return success(context.request_id, items, pagination=pages)
