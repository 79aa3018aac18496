"""The routes that need no session: login, and the theme of the pages."""

from aiohttp import web

from infra.web.errors import HttpError
from workers.ops import csrf, kept_form
from workers.ops.authentication import authenticate
from workers.ops.frame import THEME_COOKIE
from workers.ops.headers import cookie_attributes
from workers.ops.login import NOT_OURS, log_in, log_out, login_page, refuse_login
from workers.ops.login_entry import login_response
from workers.ops.page import Page, SeeOther, is_local_path
from workers.ops.request import ConsoleRequest, find_client, read_form
from workers.ops.responses import IDS, to_response
from workers.ops.session import COOKIE, LOGIN_COOKIE, ConsoleSession
from workers.ops.state import STATE

THEME_SECONDS = 365 * 86_400


async def get_login(request: web.Request) -> web.StreamResponse:
    """Show the login page; who is logged in goes on at once."""
    state = request.app[STATE]
    next_path = request.query.get("next", "/")
    visitor = await authenticate(request, state, find_client(request, state), request[IDS])
    if visitor is not None:
        return to_response(request, SeeOther("/"))
    return login_response(request, login_page(next_path))


async def post_login(request: web.Request) -> web.StreamResponse:
    """Log in; the session that the browser had before is replaced."""
    csrf.check_origin(request.headers)
    state = request.app[STATE]
    form = await read_form(request)
    try:
        csrf.check_csrf_token(request.cookies.get(LOGIN_COOKIE, ""), form.pop(csrf.FIELD, ""))
    except HttpError as error:
        return login_response(request, refuse_login(form, NOT_OURS, error.status))
    result = await log_in(state, find_client(request, state), request[IDS], form)
    if isinstance(result, Page):
        return login_response(request, result)
    session, next_path = result
    kept = state.kept_forms.open(form.get(kept_form.FIELD, ""), request.cookies.get(COOKIE, ""))
    if kept is not None:
        await state.sessions.keep(session, kept.page, kept.model_dump_json())
        next_path = kept.page
    response = to_response(request, SeeOther(next_path))
    trusted = state.resources.settings.trusted_proxies
    response.set_cookie(COOKIE, session.id, **cookie_attributes(request, trusted))
    return response


async def post_forget(request: ConsoleRequest) -> SeeOther:
    """Forget the input that was kept over the login."""
    await request.state.sessions.forget_kept(request.session)
    return SeeOther(_find_way_back(request))


async def post_logout(request: ConsoleRequest) -> web.StreamResponse:
    """Log out."""
    response = to_response(request.web, await log_out(request))
    trusted = request.state.resources.settings.trusted_proxies
    response.del_cookie(COOKIE, **cookie_attributes(request.web, trusted))
    return response


async def post_mode(request: ConsoleRequest) -> SeeOther:
    """Make the session read-only, or one that acts."""
    read_only = request.form.get("mode") == "read-only"
    content = request.session.content.model_copy(update={"read_only": read_only})
    await request.state.sessions.put(ConsoleSession(request.session.id, content))
    return SeeOther(_find_way_back(request))


async def post_theme(request: ConsoleRequest) -> web.StreamResponse:
    """Choose the theme of the pages, which the browser keeps in a cookie."""
    response = to_response(request.web, SeeOther(_find_way_back(request)))
    theme = request.form.get("theme")
    trusted = request.state.resources.settings.trusted_proxies
    attributes = cookie_attributes(request.web, trusted)
    if theme in {"light", "dark"}:
        response.set_cookie(THEME_COOKIE, theme, max_age=THEME_SECONDS, **attributes)
    else:
        response.del_cookie(THEME_COOKIE, **attributes)
    return response


def _find_way_back(request: ConsoleRequest) -> str:
    path = request.form.get("here", "/")
    return path if is_local_path(path) else "/"
