"""Accounts and sessions: credentials are sealed here and answered by the auth worker.

Requests go over ``adrelay.requests``, expire and are in no event log. A registration is a
durable event with a reply: when the answer does not come in time the account may be made
all the same, and a second try with the same e-mail and password is answered like the first.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from events import (
    LoginRequested,
    LogoutRequested,
    PasswordChangeRequested,
    RefreshRequested,
    RegistrationRequested,
    SessionEndRequested,
)
from events.base import new_id
from events.users import SealedRequest
from infra import topology
from infra.errors import Outage
from infra.message import Message, message_of
from infra.seal import REGISTRATION_LIFETIME, REQUEST_LIFETIME, seal
from infra.store.accounts import find_user
from schemas.accounts import Login, Refresh, Registration, Sealable, User
from workers.ingress.body import read_model
from workers.ingress.envelope import success
from workers.ingress.gate import Call
from workers.ingress.limits import aim_at
from workers.ingress.refusals import Detail, Refusal, invalid_token, unavailable

SOURCE = "urn:adrelay:api"
SECRET = {"Cache-Control": "no-store"}
Request = (
    RegistrationRequested
    | LoginRequested
    | RefreshRequested
    | LogoutRequested
    | SessionEndRequested
    | PasswordChangeRequested
)


async def register(call: Call) -> web.Response:
    """Make an account and log it in."""
    body = await read_model(call.request, Registration)
    event = _sealed(call, RegistrationRequested, body, REGISTRATION_LIFETIME)
    return await _ask(call, message_of(event))


async def login(call: Call) -> web.Response:
    """Begin a session."""
    body = await read_model(call.request, Login)
    async with call.visit.attempt(aim_at(body.email)):
        return await ask_worker(call, LoginRequested, body)


async def refresh(call: Call) -> web.Response:
    """Change a refresh token for new tokens."""
    body = await read_model(call.request, Refresh)
    async with call.visit.attempt():
        return await ask_worker(call, RefreshRequested, body)


async def logout(call: Call) -> web.Response:
    """End the session that a refresh token belongs to."""
    return await ask_worker(call, LogoutRequested, await read_model(call.request, Refresh))


async def validate(call: Call) -> web.Response:
    """Tell whose the access token is that the request is made with."""
    caller = call.caller
    data = {
        "valid": True,
        "user": {"id": str(caller.account), "role": caller.role},
        "session_id": caller.session_id,
    }
    return success(call.request_id, data, headers=SECRET)


async def me(call: Call) -> web.Response:
    """Answer the caller's account."""

    async def find(tx: AsyncConnection) -> User | None:
        return await find_user(tx, call.caller.account)

    try:
        user = await call.gate.database.read(find)
    except Outage:
        raise unavailable("Accounts cannot be read right now.") from None
    if user is None:
        raise invalid_token()
    return success(call.request_id, user, headers=SECRET)


async def ask_worker(call: Call, kind: type[Request], body: BaseModel) -> web.Response:
    """Ask the auth worker for something and answer what it answers; 503 when it does not."""
    event = _sealed(call, kind, body, REQUEST_LIFETIME)
    message = replace(message_of(event, topology.REQUESTS), persistent=False)
    return await _ask(call, message)


def _sealed(call: Call, kind: type[Request], body: BaseModel, lifetime: timedelta) -> Request:
    """Make a request that only the auth worker can read, and only as this very message."""
    event_id = new_id()
    public_key = call.gate.resources.settings.seal_public_key or ""
    sealed = seal(
        public_key,
        Sealable(body=body.model_dump(), client=call.client).model_dump(mode="json"),
        purpose=kind.event_type(),
        request_id=event_id,
        lifetime=lifetime,
    )
    return kind(
        id=event_id,
        source=SOURCE,
        correlationid=call.ids.correlation_id,
        traceparent=call.ids.traceparent,
        data=SealedRequest(sealed=sealed),
    )


async def _ask(call: Call, message: Message) -> web.Response:
    gate = call.gate
    try:
        answer = await gate.requester.ask(message, gate.resources.settings.reply_deadline)
    except Outage:
        raise unavailable("The auth service does not answer right now.") from None
    status = int(answer["status"])
    if "error" in answer:
        raise _refusal(status, answer["error"])
    if status == 204:  # noqa: PLR2004 - no content
        return web.Response(status=204, headers=SECRET)
    return success(call.request_id, answer.get("data"), status=status, headers=SECRET)


def _refusal(status: int, error: Mapping[str, Any]) -> Refusal:
    details = [Detail(line["field"], line["message"]) for line in error.get("details", ())]
    headers = dict(SECRET)
    if status == 401:  # noqa: PLR2004 - RFC 9110, section 15.5.2
        headers["WWW-Authenticate"] = "Bearer"
    return Refusal(status, error["code"], error["message"], details=details, headers=headers)
