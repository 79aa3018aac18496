"""Shows the login page to who is not logged in, and keeps the input of a form meanwhile."""

import secrets
from dataclasses import replace
from urllib.parse import urlsplit

from aiohttp import web

from events.envelope import now
from infra.web.errors import HttpError
from workers.ops import csrf
from workers.ops.headers import cookie_attributes
from workers.ops.kept_form import SECRET_WORD, SENT_AGAIN, KeptForm
from workers.ops.login import INPUT_KEPT, NOT_SENT, OVER, TOO_LARGE, login_page
from workers.ops.page import Page, is_local_path
from workers.ops.request import read_form
from workers.ops.responses import to_response
from workers.ops.session import COOKIE, ID_BYTES, LOGIN_COOKIE, MAX_COOKIE_LENGTH
from workers.ops.state import STATE

POST = "POST"


async def ask_to_log_in(request: web.Request, *, keep: bool) -> web.StreamResponse:
    """Show the login page with where the browser wanted to go; an act is not repeated.

    ``keep`` says that the input of a form is worth keeping.
    """
    over = OVER if COOKIE in request.cookies else ""
    if request.method == POST or request.path == "/live":
        kept = await read_kept_form(request) if keep and request.method == POST else None
        if kept is None:
            return login_response(request, login_page("/", message=over, status=401))
        sealed = request.app[STATE].kept_forms.seal(kept, request.cookies[COOKIE])
        message = NOT_SENT.format(what=TOO_LARGE if sealed is None else INPUT_KEPT)
        page = login_page(kept.page, message=message, kept=sealed or "", status=401)
        return login_response(request, page)
    target = request.path_qs
    if target == "/" and not over:
        return web.Response(status=303, headers={"Location": "/login"})
    return login_response(request, login_page(target, message=over, status=401))


def login_response(request: web.Request, page: Page) -> web.StreamResponse:
    """Render the login page with a token against forms of other sites, and the token's cookie."""
    known = request.cookies.get(LOGIN_COOKIE, "")
    value = known if 0 < len(known) <= MAX_COOKIE_LENGTH else secrets.token_urlsafe(ID_BYTES)
    context = {**page.context, "csrf": csrf.make_csrf_token(value)}
    response = to_response(request, replace(page, context=context))
    trusted = request.app[STATE].resources.settings.trusted_proxies
    response.set_cookie(LOGIN_COOKIE, value, **cookie_attributes(request, trusted))
    return response


async def read_kept_form(request: web.Request) -> KeptForm | None:
    """Read the form of a request whose session is over; None if it is not from our page."""
    session_id = request.cookies.get(COOKIE, "")
    try:
        fields = await read_form(request)
        csrf.check_csrf_token(session_id, fields.pop(csrf.FIELD, ""))
    except HttpError:
        return None
    fields.pop(SENT_AGAIN, "")
    kept = {name: value for name, value in fields.items() if SECRET_WORD not in name.lower()}
    return KeptForm(action=request.path, page=find_page(request), fields=kept, sent_at=now())


def find_page(request: web.Request) -> str:
    """Find the page that a form is on, by the browser's ``Referer``; else the start page."""
    parts = urlsplit(request.headers.get("Referer", ""))
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return path if parts.netloc == request.host and is_local_path(path) else "/"
