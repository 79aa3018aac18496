"""Renders what a page's function returns, in the frame of a visitor or alone."""

from typing import Any

from aiohttp import web

from infra.web.request import RequestIds
from workers.ops.authentication import Visitor
from workers.ops.frame import frame_context, read_theme
from workers.ops.kept_form import KeptForm
from workers.ops.page import Page, SeeOther
from workers.ops.render import render_template
from workers.ops.state import STATE

IDS: web.RequestKey[RequestIds] = web.RequestKey("ids", RequestIds)
VISITOR: web.RequestKey[Visitor] = web.RequestKey("visitor", Visitor)
KEPT: web.RequestKey[KeptForm | None] = web.RequestKey("kept", KeptForm)


def to_response(
    request: web.Request, result: Page | SeeOther | web.StreamResponse, entry: str = ""
) -> web.StreamResponse:
    """Convert what a page's function returns; a page of a visitor has the whole frame."""
    if isinstance(result, SeeOther):
        return web.Response(status=303, headers={"Location": result.location})
    if isinstance(result, web.StreamResponse):
        return result
    state, visitor = request.app[STATE], request.get(VISITOR)
    context: dict[str, Any] = {
        "title": result.title,
        "theme": read_theme(request),
        "framed": visitor is not None,
    }
    if visitor is not None:
        sample = state.sampler.current
        context |= frame_context(request, visitor.session, sample, entry)
        context |= {"kept": request.get(KEPT)}
    text = render_template(state.environment, result.template, {**context, **result.context})
    return web.Response(text=text, status=result.status, content_type="text/html", charset="utf-8")
