"""Calls the auth worker for a request; replies become HTTP responses."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel

from events.envelope import Event
from infra.amqp.message import Message
from infra.web.auth_worker import NO_STORE
from infra.web.responses import success
from workers.ingress.context import RequestContext

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
    worker = context.state.auth_worker
    return await worker.call(kind, body, context.client, context.ids, seconds)


def encrypt_request(
    context: RequestContext, kind: type[E], body: BaseModel, lifetime: timedelta
) -> E:
    """Encrypt a request for the auth worker, bound to its type and event id."""
    return context.state.auth_worker.encrypt(kind, body, context.client, context.ids, lifetime)


async def send(
    context: RequestContext, message: Message, seconds: float | None = None
) -> Mapping[str, Any]:
    """Send a request and return its reply, as ``call_auth_worker`` does."""
    return await context.state.auth_worker.send(message, seconds)


def to_response(context: RequestContext, answer: Mapping[str, Any]) -> web.Response:
    """Build the HTTP response to a reply of the auth worker."""
    status = int(answer["status"])
    if status == 204:  # noqa: PLR2004 - no content
        return web.Response(status=204, headers=NO_STORE)
    return success(context.request_id, answer.get("data"), status=status, headers=NO_STORE)
