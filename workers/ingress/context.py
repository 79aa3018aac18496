"""The context of one request: what a route's handler receives."""

import time
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from aiohttp import web

from events.envelope import Event
from infra.amqp.message import Message, build_message
from infra.errors import Outage
from infra.messaging.headers import ACCEPTED, DOOR
from infra.web.client_address import get_client
from infra.web.database import Query
from infra.web.errors import unauthenticated, unavailable
from infra.web.principal import Principal
from infra.web.rate_limits import RateLimitScope
from infra.web.request import RequestIds
from schemas.users import ClientInfo
from workers.ingress.state import AppState

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RequestContext:
    """A request, its principal (None on public routes) and the state of the process."""

    request: web.Request
    state: AppState
    ids: RequestIds
    optional_principal: Principal | None
    rate_limit: RateLimitScope
    route_path: str  # as the route table spells it

    @property
    def principal(self) -> Principal:
        """The authenticated principal; raises an ``HttpError`` (401) on a public route."""
        if self.optional_principal is None:
            raise unauthenticated()
        return self.optional_principal

    @property
    def client(self) -> ClientInfo:
        """The client's address and device, with the account and session if authenticated."""
        settings = self.state.resources.settings
        client = get_client(self.request, settings.trusted_proxies, settings.forwarded_header)
        principal = self.optional_principal
        if principal is None:
            return client
        known = {"account": principal.user_id, "session_id": principal.session_id}
        return client.model_copy(update=known)

    async def read(self, what: str, query: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``query(connection, *args, **kwargs)``, which changes nothing.

        Raises an ``HttpError`` (503) when Postgres is down; ``what`` is the subject of its
        message: "<what> cannot be read right now."
        """
        try:
            return await self.state.database.read(query, *args, **kwargs)
        except Outage:
            raise unavailable(f"{what} cannot be read right now.") from None

    @property
    def door(self) -> str:
        """The route, and who uses it: ``http POST /api/v1/events key=<id>`` or ``user=<id>``."""
        door = f"http {self.request.method} {self.route_path}"
        principal = self.optional_principal
        return door if principal is None else f"{door} {principal.name.replace(':', '=', 1)}"

    def build_message(
        self, event: Event, *, with_time: bool = True, door: str | None = None
    ) -> Message:
        """Build the message of an event that is accepted here: headers say when and by which door.

        They are no part of the event; ``infra.messaging.origin`` reads them.
        """
        headers = {ACCEPTED: time.time_ns() // 1000, DOOR: door or self.door}
        return build_message(event, with_time=with_time, headers=headers)

    @property
    def request_id(self) -> str:
        """The id in the response's ``meta``."""
        return self.ids.request_id
