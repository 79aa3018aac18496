"""Registration, login and tokens: requests are encrypted for the auth worker, which responds.

A registration is a durable event with a reply. When the reply does not arrive in time, the
account may be created nevertheless; a second attempt with the same ``Idempotency-Key``, e-mail
and password gets the response of the first. An address that has an account is not revealed in
any other way.
"""

from aiohttp import web

from events import LoginRequested, LogoutRequested, RefreshRequested, RegistrationRequested
from infra.security.sealed_box import REGISTRATION_LIFETIME
from infra.storage.users import find_user
from infra.web.auth_worker import NO_STORE
from infra.web.errors import invalid_token
from infra.web.rate_limits import email_key
from infra.web.responses import success
from schemas.users import KeyedRegistration, Login, Refresh, Registration
from workers.ingress.api.auth_rpc import call_and_respond, encrypt_request, send, to_response
from workers.ingress.api.idempotency import derive_registration_id
from workers.ingress.context import RequestContext
from workers.ingress.http.parsing import read_model


async def register(context: RequestContext) -> web.Response:
    """Create an account and start a session."""
    body = await read_model(context.request, Registration)
    registration_id = derive_registration_id(context)
    keyed = KeyedRegistration(**dict(body), registration_id=registration_id)
    event = encrypt_request(context, RegistrationRequested, keyed, REGISTRATION_LIFETIME)
    if registration_id is None:
        return to_response(context, await send(context, context.build_message(event)))
    # A wrong password for a repeated registration is a guess, as in a login.
    async with context.rate_limit.count_failure(email_key(body.email)):
        return to_response(context, await send(context, context.build_message(event)))


async def login(context: RequestContext) -> web.Response:
    """Verify a password and start a session."""
    body = await read_model(context.request, Login)
    async with context.rate_limit.count_failure(email_key(body.email)):
        return await call_and_respond(context, LoginRequested, body)


async def refresh(context: RequestContext) -> web.Response:
    """Exchange a refresh token for new tokens."""
    body = await read_model(context.request, Refresh)
    async with context.rate_limit.count_failure():
        return await call_and_respond(context, RefreshRequested, body)


async def logout(context: RequestContext) -> web.Response:
    """End the session of a refresh token."""
    return await call_and_respond(
        context, LogoutRequested, await read_model(context.request, Refresh)
    )


async def validate(context: RequestContext) -> web.Response:
    """Return the user and the session of the request's access token."""
    principal = context.principal
    data = {
        "valid": True,
        "user": {"id": str(principal.user_id), "role": principal.role},
        "session_id": principal.session_id,
    }
    return success(context.request_id, data, headers=NO_STORE)


async def me(context: RequestContext) -> web.Response:
    """Return the account of the principal."""
    user = await context.read("Accounts", find_user, context.principal.user_id)
    if user is None:
        raise invalid_token()
    return success(context.request_id, user, headers=NO_STORE)
