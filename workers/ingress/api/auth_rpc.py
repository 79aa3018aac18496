"""Calls the auth worker: requests are encrypted here, replies become HTTP responses.

Requests go over the exchange ``adrelay.requests``; they expire, and no event log holds them.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel

from events.envelope import Event, new_id
from events.sources import API_SOURCE
from infra.amqp import topology
from infra.amqp.message import Message, build_message
from infra.errors import Outage
from infra.security.sealed_box import REQUEST_LIFETIME, encrypt_payload
from schemas.users import AuthRequestPayload
from workers.ingress.context import RequestContext
from workers.ingress.http.errors import RETRY_AFTER, FieldError, HttpError, unavailable
from workers.ingress.http.responses import success

NO_STORE = {"Cache-Control": "no-store"}

E = TypeVar("E", bound=Event)


async def call_and_respond(
    context: RequestContext, kind: type[Event], body: BaseModel
) -> web.Response:
    """Call the auth worker and respond with its reply.

    Raises its error as an ``HttpError``, and 503 when no answer comes in time.
    """
    return to_response(context, await call_auth_worker(context, kind, body))


async def call_auth_worker(
    context: RequestContext, kind: type[Event], body: BaseModel, seconds: float | None = None
) -> Mapping[str, Any]:
    """Call the auth worker and return its reply; raises as ``call_and_respond`` does.

    Waits ``seconds`` at most, by default the ``reply_deadline`` of the settings.
    """
    event = encrypt_request(context, kind, body, REQUEST_LIFETIME)
    message = build_message(event, topology.REQUEST_EXCHANGE)
    return await send(context, message, seconds)


def encrypt_request(
    context: RequestContext, kind: type[E], body: BaseModel, lifetime: timedelta
) -> E:
    """Encrypt a request for the auth worker, bound to its type and event id."""
    event_id = new_id()
    box = encrypt_payload(
        context.state.resources.settings.seal_public_key or "",
        AuthRequestPayload(body=body.model_dump(mode="json"), client=context.client).model_dump(
            mode="json"
        ),
        purpose=kind.event_type(),
        request_id=event_id,
        lifetime=lifetime,
    )
    return kind(
        id=event_id,
        source=API_SOURCE,
        type=kind.event_type(),
        data={"sealed": box},
        **context.ids.trace_attributes,
    )


async def send(
    context: RequestContext, message: Message, seconds: float | None = None
) -> Mapping[str, Any]:
    """Send a request and return its reply, as ``call_auth_worker`` does."""
    state = context.state
    deadline = seconds or state.resources.settings.reply_deadline
    try:
        answer = await state.rpc_client.call(message, deadline)
    except Outage:
        raise unavailable("The auth service does not answer right now.") from None
    if "error" in answer:
        raise _to_error(int(answer["status"]), answer["error"])
    return answer


def to_response(context: RequestContext, answer: Mapping[str, Any]) -> web.Response:
    """Build the HTTP response to a reply of the auth worker."""
    status = int(answer["status"])
    if status == 204:  # noqa: PLR2004 - no content
        return web.Response(status=204, headers=NO_STORE)
    return success(context.request_id, answer.get("data"), status=status, headers=NO_STORE)


def _to_error(status: int, error: Mapping[str, Any]) -> HttpError:
    details = [FieldError(line["field"], line["message"]) for line in error.get("details", ())]
    headers = dict(NO_STORE)
    if status == 401:  # noqa: PLR2004 - RFC 9110, section 15.5.2
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:  # noqa: PLR2004 - a fault that passes
        headers["Retry-After"] = RETRY_AFTER
    return HttpError(status, error["code"], error["message"], details=details, headers=headers)
