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
from workers.ingress.backends.auth_rpc import (
    NO_STORE,
    call_and_respond,
    encrypt_request,
    send,
    to_response,
)
from workers.ingress.http.errors import invalid_token
from workers.ingress.http.idempotency import registration_id_of
from workers.ingress.http.parsing import read_model
from workers.ingress.http.rate_limits import aim_at
from workers.ingress.http.request import Call
from workers.ingress.http.responses import success


async def register(call: Call) -> web.Response:
    """Make an account and log it in."""
    body = await read_model(call.request, Registration)
    registration_id = registration_id_of(call)
    keyed = KeyedRegistration(**dict(body), registration_id=registration_id)
    event = encrypt_request(call, RegistrationRequested, keyed, REGISTRATION_LIFETIME)
    if registration_id is None:
        return to_response(call, await send(call, build_message(event)))
    async with call.visit.attempt(aim_at(body.email)):  # a wrong password here is a guess too
        return to_response(call, await send(call, build_message(event)))


async def login(call: Call) -> web.Response:
    """Begin a session."""
    body = await read_model(call.request, Login)
    async with call.visit.attempt(aim_at(body.email)):
        return await call_and_respond(call, LoginRequested, body)


async def refresh(call: Call) -> web.Response:
    """Change a refresh token for new tokens."""
    body = await read_model(call.request, Refresh)
    async with call.visit.attempt():
        return await call_and_respond(call, RefreshRequested, body)


async def logout(call: Call) -> web.Response:
    """End the session that a refresh token belongs to."""
    return await call_and_respond(call, LogoutRequested, await read_model(call.request, Refresh))


async def validate(call: Call) -> web.Response:
    """Tell whose the access token is that the request is made with."""
    caller = call.caller
    data = {
        "valid": True,
        "user": {"id": str(caller.account), "role": caller.role},
        "session_id": caller.session_id,
    }
    return success(call.request_id, data, headers=NO_STORE)


async def me(call: Call) -> web.Response:
    """Answer the caller's account."""

    async def find(tx: AsyncConnection) -> User | None:
        return await find_user(tx, call.caller.account)

    user = await call.read(find, "Accounts")
    if user is None:
        raise invalid_token()
    return success(call.request_id, user, headers=NO_STORE)
