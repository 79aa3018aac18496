"""Accounts and sessions: credentials are sealed and answered by the auth worker.

A registration is a durable event with a reply: when the answer does not come in time the
account may be made all the same, and a second try with the same ``Idempotency-Key``, e-mail and
password is answered like the first. Of an address that has an account nothing else is told.
"""

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from events import LoginRequested, LogoutRequested, RefreshRequested, RegistrationRequested
from infra.amqp.message import build_message
from infra.security.sealed_box import REGISTRATION_LIFETIME
from infra.storage.users import find_user
from schemas.users import KeyedRegistration, Login, Refresh, Registration, User
from workers.ingress.api.auth_rpc import (
    NO_STORE,
    call_and_respond,
    encrypt_request,
    send,
    to_response,
)
from workers.ingress.api.idempotency import derive_registration_id
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import invalid_token
from workers.ingress.http.parsing import read_model
from workers.ingress.http.rate_limits import email_key
from workers.ingress.http.responses import success


async def register(context: RequestContext) -> web.Response:
    """Make an account and log it in."""
    body = await read_model(context.request, Registration)
    registration_id = derive_registration_id(context)
    keyed = KeyedRegistration(**dict(body), registration_id=registration_id)
    event = encrypt_request(context, RegistrationRequested, keyed, REGISTRATION_LIFETIME)
    if registration_id is None:
        return to_response(context, await send(context, build_message(event)))
    async with context.rate_limit.count_failure(
        email_key(body.email)
    ):  # a wrong password here is a guess too
        return to_response(context, await send(context, build_message(event)))


async def login(context: RequestContext) -> web.Response:
    """Begin a session."""
    body = await read_model(context.request, Login)
    async with context.rate_limit.count_failure(email_key(body.email)):
        return await call_and_respond(context, LoginRequested, body)


async def refresh(context: RequestContext) -> web.Response:
    """Change a refresh token for new tokens."""
    body = await read_model(context.request, Refresh)
    async with context.rate_limit.count_failure():
        return await call_and_respond(context, RefreshRequested, body)


async def logout(context: RequestContext) -> web.Response:
    """End the session that a refresh token belongs to."""
    return await call_and_respond(
        context, LogoutRequested, await read_model(context.request, Refresh)
    )


async def validate(context: RequestContext) -> web.Response:
    """Tell whose the access token is that the request is made with."""
    caller = context.principal
    data = {
        "valid": True,
        "user": {"id": str(caller.user_id), "role": caller.role},
        "session_id": caller.session_id,
    }
    return success(context.request_id, data, headers=NO_STORE)


async def me(context: RequestContext) -> web.Response:
    """Answer the caller's account."""

    async def find(tx: AsyncConnection) -> User | None:
        return await find_user(tx, context.principal.user_id)

    user = await context.read(find, "Accounts")
    if user is None:
        raise invalid_token()
    return success(context.request_id, user, headers=NO_STORE)
