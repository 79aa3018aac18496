"""Calls the auth worker: requests are encrypted here, its refusals become ``HttpError``.

Requests go over the exchange ``adrelay.requests``; they expire, and no event log holds them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel

from events.envelope import Event, new_id
from events.sources import API_SOURCE
from infra.amqp import topology
from infra.amqp.message import Message, build_message
from infra.amqp.rpc import RpcClient
from infra.errors import Outage
from infra.security.sealed_box import REQUEST_LIFETIME, encrypt_payload
from infra.settings import Settings
from infra.web.errors import RETRY_AFTER, FieldError, HttpError, unavailable
from infra.web.request import RequestIds
from schemas.users import AuthRequestPayload, ClientInfo

NO_STORE = {"Cache-Control": "no-store"}

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class AuthWorkerClient:
    """Sends requests of one process to the auth worker."""

    settings: Settings
    rpc_client: RpcClient

    async def call(
        self,
        kind: type[Event],
        body: BaseModel,
        client: ClientInfo,
        ids: RequestIds,
        seconds: float | None = None,
    ) -> Mapping[str, Any]:
        """Encrypt a request, send it and return the reply; raises as ``send`` does."""
        event = self.encrypt(kind, body, client, ids, REQUEST_LIFETIME)
        return await self.send(build_message(event, topology.REQUEST_EXCHANGE), seconds)

    def encrypt(
        self,
        kind: type[E],
        body: BaseModel,
        client: ClientInfo,
        ids: RequestIds,
        lifetime: timedelta,
    ) -> E:
        """Encrypt a request for the auth worker, bound to its type and event id."""
        event_id = new_id()
        payload = AuthRequestPayload(body=body.model_dump(mode="json"), client=client)
        box = encrypt_payload(
            self.settings.seal_public_key or "",
            payload.model_dump(mode="json"),
            purpose=kind.event_type(),
            request_id=event_id,
            lifetime=lifetime,
        )
        return kind(
            id=event_id,
            source=API_SOURCE,
            type=kind.event_type(),
            data={"sealed": box},
            **ids.trace_attributes,
        )

    async def send(self, message: Message, seconds: float | None = None) -> Mapping[str, Any]:
        """Send a request and return its reply.

        Waits ``seconds`` at most, by default the ``reply_deadline`` of the settings. Raises the
        reply's error as an ``HttpError``, and 503 when no answer comes in time.
        """
        try:
            answer = await self.rpc_client.call(message, seconds or self.settings.reply_deadline)
        except Outage:
            raise unavailable("The auth service does not answer right now.") from None
        if "error" in answer:
            raise _to_error(int(answer["status"]), answer["error"])
        return answer


def _to_error(status: int, error: Mapping[str, Any]) -> HttpError:
    details = [FieldError(line["field"], line["message"]) for line in error.get("details", ())]
    headers = dict(NO_STORE)
    if status == 401:  # noqa: PLR2004 - RFC 9110, section 15.5.2
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:  # noqa: PLR2004 - a fault that passes
        headers["Retry-After"] = RETRY_AFTER
    return HttpError(status, error["code"], error["message"], details=details, headers=headers)
