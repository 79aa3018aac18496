"""Accounts at the ad platforms, connected with their owner's consent (OAuth 2.0).

    connect    state and cookie are issued -> the platform asks the owner -> callback
    callback   state, cookie and issuer are checked; the auth worker exchanges the code for tokens

The callback's browser carries no access token. A cookie that scripts cannot read, sent to the
callback alone, proves that it is the browser that started. Neither code nor tokens are stored
here: the code is passed on encrypted, and tokens never reach the ingress.
"""

from typing import cast

from aiohttp import web
from yarl import URL

from events import PlatformDisconnectRequested
from infra.platforms import PLATFORMS
from infra.platforms.oauth import build_authorize_url, build_redirect_uri
from infra.redis_errors import REDIS_ERRORS
from infra.security.oauth_state import (
    STATE_LIFETIME_SECONDS,
    start_authorization,
)
from infra.settings import Settings
from infra.storage.platform_accounts import list_accounts
from infra.web.auth_worker import NO_STORE
from infra.web.errors import not_found, unavailable
from infra.web.responses import JSON, success
from schemas import types
from schemas.platform_accounts import (
    AuthorizeUrl,
    PlatformAccountRef,
)
from workers.ingress.api.auth_rpc import call_and_respond
from workers.ingress.context import RequestContext

COOKIE_NAME = "adrelay_consent"


async def get_platforms(context: RequestContext) -> web.Response:
    """List the principal's accounts at the platforms."""
    accounts = await context.read("Accounts", list_accounts, context.principal.user_id)
    return success(context.request_id, accounts, headers=NO_STORE)


async def connect_platform(context: RequestContext) -> web.Response:
    """Start to connect an account: redirect the browser to the platform.

    A client that accepts JSON gets the address in the body instead: it may have to add its access
    token to this request, which a browser's navigation cannot do.
    """
    platform = read_platform(context)
    settings, redis = context.state.resources.settings, context.state.resources.redis
    principal = context.principal
    try:
        authorization = await start_authorization(
            redis, platform, principal.user_id, principal.session_id or ""
        )
    except REDIS_ERRORS:
        raise unavailable("Nothing can be connected right now.") from None
    url = build_authorize_url(
        settings,
        platform,
        PLATFORMS[platform],
        state=authorization.state,
        verifier=authorization.verifier,
    )
    headers = {**NO_STORE, "Vary": "Accept"}
    if JSON in context.request.headers.get("Accept", ""):
        response = success(context.request_id, AuthorizeUrl(authorize_url=url), headers=headers)
    else:
        response = web.Response(status=302, headers={**headers, "Location": url})
    set_consent_cookie(response, settings, platform, authorization.cookie, STATE_LIFETIME_SECONDS)
    return response


async def disconnect_platform(context: RequestContext) -> web.Response:
    """Disconnect an account: from now on nothing is done in the owner's name.

    The tokens are revoked at the platform as soon as it answers, and deleted here.
    """
    ref = PlatformAccountRef(platform=read_platform(context), user_id=context.principal.user_id)
    return await call_and_respond(context, PlatformDisconnectRequested, ref)


def read_platform(context: RequestContext) -> types.Platform:
    """Read the platform in the path; raises an ``HttpError`` (404)."""
    name = context.request.match_info["platform"]
    if name not in PLATFORMS:
        raise not_found("platform")
    return cast("types.Platform", name)


def set_consent_cookie(
    response: web.Response, settings: Settings, platform: types.Platform, value: str, life: int
) -> None:
    """Set the cookie of a pending authorization for ``life`` seconds; 0 deletes it."""
    callback_url = URL(build_redirect_uri(settings, platform))
    response.set_cookie(
        COOKIE_NAME,
        value,
        path=callback_url.path,
        max_age=life,
        httponly=True,
        samesite="Lax",  # the callback is a navigation from another site
        secure=callback_url.scheme == "https",
    )
