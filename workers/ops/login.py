"""Logs admins in and out: the auth worker verifies the password and starts the session.

Failed logins count in the same limits as those of the API, by address, and by address and e-mail.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from events import LoginRequested, LogoutRequested
from events.envelope import now
from infra.web.errors import HttpError, forbidden
from infra.web.rate_limits import LOGIN, address_key, email_key
from infra.web.request import RequestIds
from schemas.users import ClientInfo, Login, Refresh
from workers.ops.authentication import end
from workers.ops.page import Page, SeeOther, is_local_path
from workers.ops.request import ConsoleRequest
from workers.ops.session import ConsoleSession, SessionContent
from workers.ops.state import ConsoleState

UNAUTHORIZED = 401
NOT_ADMIN = "The console is for accounts with the role admin. Yours has the role {role}."
WRONG = "E-mail or password is wrong."
OVER = "Your session is over. Log in to go on where you were."
NOT_SENT = "Your session is over, so nothing was changed. Log in: {what}"
INPUT_KEPT = "your input is kept, and you can send it again."
TOO_LARGE = "your input is too large to be kept. Copy it from the page before this one."
NOT_OURS = "This form was open for too long, or cookies are off. Nobody was logged in: try again."


def login_page(
    next_path: str,
    *,
    message: str = "",
    email: str = "",
    read_only: bool = False,
    kept: str = "",
    status: int = 200,
) -> Page:
    """Build the login page; ``next_path`` is where one continues afterwards.

    ``kept`` is the input of a form, encrypted (``workers.ops.kept_form``).
    """
    context = {
        "kept": kept,
        "next": next_path if is_local_path(next_path) else "/",
        "message": message,
        "email": email,
        "read_only": read_only,
        "failed": status >= 400,  # noqa: PLR2004 - the first error
    }
    return Page("Log in", "login.html", context, status)


def refuse_login(form: Mapping[str, str], message: str, status: int = UNAUTHORIZED) -> Page:
    """Build the login page again, with all that was typed but the password."""
    return login_page(
        form.get("next", "/"),
        message=message,
        email=form.get("email", "").strip(),
        read_only="read_only" in form,
        kept=form.get("kept", ""),
        status=status,
    )


async def log_in(
    state: ConsoleState, client: ClientInfo, ids: RequestIds, form: Mapping[str, str]
) -> tuple[ConsoleSession, str] | Page:
    """Verify the password of a form and start a session.

    Returns the session and where to go, or the login page with what was wrong. Raises an
    ``HttpError``: 403 for another role, 429 after too many failures, 503.
    """
    email, next_path = form.get("email", "").strip(), form.get("next", "/")
    read_only = "read_only" in form
    try:
        body = Login(email=email, password=form.get("password", ""))
    except ValidationError:
        return refuse_login(form, WRONG)
    limit = state.rate_limiter.scope(LOGIN, address_key(client.address))
    await limit.count_request()
    try:
        async with limit.count_failure(email_key(email)):
            answer = await state.auth_worker.call(LoginRequested, body, client, ids)
    except HttpError as error:
        if error.status != UNAUTHORIZED:
            raise
        return refuse_login(form, WRONG)
    session = await _start(state, client, ids, answer["data"], read_only=read_only)
    return session, next_path if is_local_path(next_path) else "/"


async def log_out(request: ConsoleRequest) -> SeeOther:
    """End the session."""
    await end(request.state, request.session, request.client, request.ids)
    return SeeOther("/login")


async def _start(
    state: ConsoleState,
    client: ClientInfo,
    ids: RequestIds,
    data: Mapping[str, Any],
    *,
    read_only: bool,
) -> ConsoleSession:
    user = data["user"]
    if user["role"] != "admin":
        await _revoke(state, client, ids, data["refresh_token"])
        raise forbidden(NOT_ADMIN.format(role=user["role"]))
    claims = state.verifier.verify(data["access_token"])
    content = SessionContent(
        user_id=user["id"],
        auth_session_id=claims.session_id,
        email=user["email"],
        started_at=now(),
        access_token=data["access_token"],
        refresh_token=data["refresh_token"],
        read_only=read_only,
    )
    try:
        return await state.sessions.start(content)
    except HttpError:
        await _revoke(state, client, ids, content.refresh_token)
        raise


async def _revoke(
    state: ConsoleState, client: ClientInfo, ids: RequestIds, refresh_token: str
) -> None:
    """End the session that the auth worker has just started."""
    body = Refresh(refresh_token=refresh_token)
    try:
        await state.auth_worker.call(LogoutRequested, body, client, ids)
    except HttpError:
        return
