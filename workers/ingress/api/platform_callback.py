"""The callback of a platform after the owner's consent: connects the account (OAuth 2.0)."""

import logging
from typing import Annotated

from aiohttp import web
from pydantic import Field

from events import PlatformConnectRequested
from infra.platforms import PLATFORMS
from infra.platforms.results import replace_control_characters
from infra.redis_errors import REDIS_ERRORS
from infra.security.oauth_state import (
    InvalidState,
    PendingAuthorization,
    consume_state,
)
from infra.settings import Settings
from infra.web.auth_worker import NO_STORE
from infra.web.errors import HttpError, unavailable
from infra.web.responses import success
from schemas import types
from schemas.platform_accounts import (
    MAX_CODE_LENGTH,
    AuthorizationCodeGrant,
    PlatformConnection,
)
from schemas.types import ExternalModel
from workers.ingress.api.auth_rpc import call_auth_worker
from workers.ingress.api.platform_accounts import COOKIE_NAME, read_platform, set_consent_cookie
from workers.ingress.context import RequestContext
from workers.ingress.http.html import accepts_html, html_page
from workers.ingress.http.parsing import read_query

ACCESS_DENIED = "access_denied"
TRANSIENT_ERRORS = ("temporarily_unavailable", "server_error")
MAX_DESCRIPTION_LENGTH = 1000  # characters of a platform's error description
CLOSE_PAGE = "You may close this page."

log = logging.getLogger(__name__)


class CallbackQuery(ExternalModel):
    """The query of a redirect from a platform (RFC 6749, section 4.1.2; RFC 9207)."""

    state: Annotated[str, Field(max_length=200, repr=False)] = ""
    code: Annotated[str, Field(max_length=MAX_CODE_LENGTH, repr=False)] = ""
    iss: Annotated[str, Field(max_length=MAX_CODE_LENGTH)] | None = None
    error: Annotated[str, Field(max_length=MAX_CODE_LENGTH)] | None = None
    error_description: Annotated[str, Field(max_length=MAX_CODE_LENGTH)] | None = None


async def finish_connecting(context: RequestContext) -> web.Response:
    """Connect the account after the owner's consent; the response is a page for a browser."""
    platform = read_platform(context)
    try:
        connection = await _connect(context, platform)
    except HttpError as error:
        if not accepts_html(context.request):
            raise
        details = {"code": error.code, "status": error.status, "request_id": context.request_id}
        log.log(logging.WARNING, "an account was not connected", extra=details)
        note = f"{error.code}. Request {context.request_id}"
        response = html_page("Not connected", error.message, note, status=error.status)
    else:
        title = PLATFORMS[platform].TITLE
        text = f"Adrelay now acts for you there: {', '.join(connection.scopes)}."
        response = success(context.request_id, connection, headers=NO_STORE)
        if accepts_html(context.request):
            response = html_page(f"{title} is connected", text, CLOSE_PAGE)
    set_consent_cookie(response, context.state.resources.settings, platform, "", 0)
    return response


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
            "This response belongs to no authorization that this browser started within the last"
            " ten minutes, or it was used before. Connect the account again.",
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
    # The auth worker itself waits for the platform.
    seconds = settings.platform_timeout + settings.reply_deadline
    answer = await call_auth_worker(context, PlatformConnectRequested, consent, seconds)
    return PlatformConnection.model_validate(answer["data"])


def _check_issuer(settings: Settings, platform: types.Platform, issuer: str | None) -> None:
    """Reject a response of another authorization server than was asked (RFC 9207).

    A server whose issuer is in the settings must send it.
    """
    own = settings.platform(platform)
    if issuer != (own.issuer or own.url) and (issuer or own.issuer):
        title = PLATFORMS[platform].TITLE
        raise HttpError(400, "WRONG_ISSUER", f"This response does not come from {title}.")


def _to_error(platform: types.Platform, returned: CallbackQuery) -> HttpError:
    """Build the error for what the platform reports: denied, unavailable or misconfigured."""
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
        message = f"{title} says: {said}. Connect the account again in a moment."
        return HttpError(503, "PLATFORM_UNAVAILABLE", message, headers={"Retry-After": "5"})
    return HttpError(502, "PLATFORM_REFUSED", f"{title} rejected the connection: {said}.")
