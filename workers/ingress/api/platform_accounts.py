"""Accounts at the ad platforms: connected with their owner's consent (OAuth 2.0).

    connect    state and cookie out -> the platform asks the owner -> callback
    callback   state, cookie and issuer are checked; the auth worker turns the code into tokens

A browser that comes back carries no access token. What proves that it is the one that began
is a cookie that no script can read, sent to the callback alone. Neither code nor tokens are
kept here: the code goes on sealed, tokens never come this way.
"""

import logging
from typing import Annotated, cast

from aiohttp import web
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection
from yarl import URL

from events import PlatformConnectRequested, PlatformDisconnectRequested
from infra.platforms import PLATFORMS
from infra.platforms.oauth import build_authorize_url, build_redirect_uri
from infra.platforms.results import replace_control_characters
from infra.redis_errors import REDIS_ERRORS
from infra.security.oauth_state import (
    STATE_LIFETIME_SECONDS,
    InvalidState,
    PendingAuthorization,
    consume_state,
    start_authorization,
)
from infra.settings import Settings
from infra.storage.platform_accounts import list_accounts
from schemas import types
from schemas.platform_accounts import (
    MAX_CODE_LENGTH,
    AuthorizationCodeGrant,
    AuthorizeUrl,
    PlatformAccount,
    PlatformAccountRef,
    PlatformConnection,
)
from schemas.types import ExternalModel
from workers.ingress.api.auth_rpc import NO_STORE, call_and_respond, call_auth_worker
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import HttpError, not_found, unavailable
from workers.ingress.http.html import accepts_html, html_page
from workers.ingress.http.parsing import read_query
from workers.ingress.http.responses import JSON, success

COOKIE_NAME = "adrelay_consent"
ACCESS_DENIED = "access_denied"
TRANSIENT_ERRORS = ("temporarily_unavailable", "server_error")
MAX_DESCRIPTION_LENGTH = 1000  # characters of what a platform says that are shown
CLOSE_PAGE = "You may close this page."

log = logging.getLogger(__name__)


class CallbackQuery(ExternalModel):
    """What a platform sends a browser back with (RFC 6749, section 4.1.2; RFC 9207)."""

    state: Annotated[str, Field(max_length=200, repr=False)] = ""
    code: Annotated[str, Field(max_length=MAX_CODE_LENGTH, repr=False)] = ""
    iss: Annotated[str, Field(max_length=MAX_CODE_LENGTH)] | None = None
    error: Annotated[str, Field(max_length=MAX_CODE_LENGTH)] | None = None
    error_description: Annotated[str, Field(max_length=MAX_CODE_LENGTH)] | None = None


async def get_platforms(context: RequestContext) -> web.Response:
    """List the caller's accounts at the platforms."""

    async def find(tx: AsyncConnection) -> list[PlatformAccount]:
        return await list_accounts(tx, context.principal.user_id)

    found = await context.read(find, "Accounts")
    return success(context.request_id, found, headers=NO_STORE)


async def connect_platform(context: RequestContext) -> web.Response:
    """Begin to connect an account: send the browser to the platform.

    A client that asks for JSON is told the address, for it may have to send its access
    token by itself; the browser has to be led there.
    """
    platform = _read_platform(context)
    settings, redis = context.state.resources.settings, context.state.resources.redis
    caller = context.principal
    try:
        begun = await start_authorization(redis, platform, caller.user_id, caller.session_id or "")
    except REDIS_ERRORS:
        raise unavailable("Nothing can be connected right now.") from None
    url = build_authorize_url(
        settings, platform, PLATFORMS[platform], state=begun.state, verifier=begun.verifier
    )
    headers = {**NO_STORE, "Vary": "Accept"}
    if JSON in context.request.headers.get("Accept", ""):
        response = success(context.request_id, AuthorizeUrl(authorize_url=url), headers=headers)
    else:
        response = web.Response(status=302, headers={**headers, "Location": url})
    _set_cookie(response, settings, platform, begun.cookie, STATE_LIFETIME_SECONDS)
    return response


async def finish_connecting(context: RequestContext) -> web.Response:
    """Connect the account whose owner the platform has sent back; a page for a browser."""
    platform = _read_platform(context)
    try:
        connection = await _connect(context, platform)
    except HttpError as refusal:
        if not accepts_html(context.request):
            raise
        details = {"code": refusal.code, "status": refusal.status, "request_id": context.request_id}
        log.log(logging.WARNING, "an account was not connected", extra=details)
        note = f"{refusal.code}. Request {context.request_id}"
        response = html_page("Not connected", refusal.message, note, status=refusal.status)
    else:
        title = PLATFORMS[platform].TITLE
        text = f"Adrelay now acts for you there: {', '.join(connection.scopes)}."
        shown = success(context.request_id, connection, headers=NO_STORE)
        wanted = accepts_html(context.request)
        response = html_page(f"{title} is connected", text, CLOSE_PAGE) if wanted else shown
    _set_cookie(response, context.state.resources.settings, platform, "", 0)
    return response


async def disconnect_platform(context: RequestContext) -> web.Response:
    """Take the consent back: nothing is done in the owner's name from now on.

    The tokens are revoked at the platform as soon as it answers, and deleted here.
    """
    wish = PlatformAccountRef(platform=_read_platform(context), user_id=context.principal.user_id)
    return await call_and_respond(context, PlatformDisconnectRequested, wish)


async def _connect(context: RequestContext, platform: types.Platform) -> PlatformConnection:
    returned = read_query(context.request, CallbackQuery)
    cookie = context.request.cookies.get(COOKIE_NAME, "")
    try:
        pending = await consume_state(
            context.state.resources.redis, platform, returned.state, cookie
        )
    except InvalidState:
        raise HttpError(
            400,
            "INVALID_STATE",
            "This answer belongs to nothing that this browser has begun within the last ten"
            " minutes, or it was used before. Connect the account once more.",
        ) from None
    except REDIS_ERRORS:
        raise unavailable("Nothing can be connected right now. Try again in a moment.") from None
    _check_issuer(context.state.resources.settings, platform, returned.iss)
    if returned.error is not None or not returned.code:
        raise _to_error(platform, returned)
    return await _exchange_code(context, pending, returned.code)


async def _exchange_code(
    context: RequestContext, pending: PendingAuthorization, code: str
) -> PlatformConnection:
    settings = context.state.resources.settings
    consent = AuthorizationCodeGrant(
        platform=pending.platform,
        user_id=pending.user_id,
        session_id=pending.session_id,
        code=code,
        verifier=pending.verifier,
    )
    # The auth worker waits for the platform in its turn.
    seconds = settings.platform_timeout + settings.reply_deadline
    answer = await call_auth_worker(context, PlatformConnectRequested, consent, seconds)
    return PlatformConnection.model_validate(answer["data"])


def _check_issuer(settings: Settings, platform: types.Platform, issuer: str | None) -> None:
    """Refuse an answer of another authorization server than was asked (RFC 9207).

    One whose issuer the settings name has to say it.
    """
    own = settings.platform(platform)
    if issuer != (own.issuer or own.url) and (issuer or own.issuer):
        title = PLATFORMS[platform].TITLE
        raise HttpError(400, "WRONG_ISSUER", f"This answer does not come from {title}.")


def _to_error(platform: types.Platform, returned: CallbackQuery) -> HttpError:
    """Say in words what the platform says: no, not now, or that it does not know us."""
    title, error = (
        PLATFORMS[platform].TITLE,
        replace_control_characters(returned.error or "no code"),
    )
    said = (
        replace_control_characters(returned.error_description or error)[:MAX_DESCRIPTION_LENGTH]
        .strip()
        .rstrip(".")
    )
    if error == ACCESS_DENIED:
        return HttpError(400, "CONSENT_DENIED", f"You have not given your consent at {title}.")
    if error in TRANSIENT_ERRORS:
        message = f"{title} says: {said}. Connect the account once more in a moment."
        return HttpError(503, "PLATFORM_UNAVAILABLE", message, headers={"Retry-After": "5"})
    return HttpError(502, "PLATFORM_REFUSED", f"{title} does not accept us. It says: {said}.")


def _read_platform(context: RequestContext) -> types.Platform:
    name = context.request.match_info["platform"]
    if name not in PLATFORMS:
        raise not_found("platform")
    return cast("types.Platform", name)


def _set_cookie(
    response: web.Response, settings: Settings, platform: types.Platform, value: str, life: int
) -> None:
    place = URL(build_redirect_uri(settings, platform))
    response.set_cookie(
        COOKIE_NAME,
        value,
        path=place.path,
        max_age=life,
        httponly=True,
        samesite="Lax",  # the browser comes back from another site
        secure=place.scheme == "https",
    )
