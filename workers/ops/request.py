"""One request to the console: what a page's function receives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from aiohttp import web

from events.envelope import Event
from infra.amqp.message import Message, build_message
from infra.errors import Outage
from infra.messaging.headers import DOOR
from infra.web.audited_write import AuditedWriter
from infra.web.client_address import get_client
from infra.web.database import QUERY_TIMEOUT, Query, QueryConflict, SlowQuery
from infra.web.errors import HttpError, unavailable
from infra.web.principal import Principal
from infra.web.request import RequestIds
from schemas.users import ClientInfo
from workers.ops.session import ConsoleSession
from workers.ops.state import ConsoleState

P = ParamSpec("P")
T = TypeVar("T")
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class ConsoleRequest:
    """A request of an admin who is logged in."""

    web: web.Request
    state: ConsoleState
    ids: RequestIds
    session: ConsoleSession
    principal: Principal
    form: Mapping[str, str]  # the fields of a POST, without those of the frame

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the address."""
        return self.web.query

    @property
    def client(self) -> ClientInfo:
        """The client's address and device, with account and session."""
        known = {"account": self.principal.user_id, "session_id": self.principal.session_id}
        return find_client(self.web, self.state).model_copy(update=known)

    async def read(self, what: str, query: Query[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``query(connection, *args, **kwargs)``, which changes nothing.

        Raises an ``HttpError`` (503) when Postgres is down or needs too long; ``what`` is the
        subject of its message: "<what> cannot be read right now."
        """
        try:
            return await self.state.database.read(query, *args, **kwargs)
        except SlowQuery:
            raise unavailable(
                f"{what} took longer than {QUERY_TIMEOUT:g} s to read. Ask for less: a queue, a "
                "stage, a shorter time, or more of the text that you look for."
            ) from None
        except Outage:
            raise unavailable(f"{what} cannot be read right now.") from None

    async def read_or_none(
        self, query: Query[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Run a query for a part of a page that may be unknown: None when Postgres is down."""
        try:
            return await self.state.database.read(query, *args, **kwargs)
        except Outage:
            return None

    async def act(
        self, name: str, subject: str, action: Query[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``action(connection, *args, **kwargs)`` in a transaction, with its audit entry.

        ``name`` and ``subject`` are those of the API's entries (``queue.pause``). Raises the
        ``HttpError`` of the action, 403 for who is no admin now, 503 when Postgres is down.
        """
        writer = AuditedWriter(
            self.state.database,
            self.state.resources.redis,
            self.principal.user_id,
            self.client,
            self.ids,
            self.build_message,
        )
        try:
            return await writer.run(name, subject, action, *args, **kwargs)
        except QueryConflict:
            raise unavailable(
                "Nothing was changed: somebody else changes the same right now. Try it again."
            ) from None
        except Outage:
            raise unavailable(
                "Postgres does not answer, so it is not known whether this was done. "
                "Look before you try it again."
            ) from None

    def build_message(self, event: Event) -> Message:
        """Build the message of an event, with the console's route as its door."""
        resource = self.web.match_info.route.resource
        path = resource.canonical if resource else ""
        door = f"console {self.web.method} {path} {self.principal.name.replace(':', '=', 1)}"
        message = build_message(event)
        return message._replace(headers={**message.headers, DOOR: door})


def find_client(request: web.Request, state: ConsoleState) -> ClientInfo:
    """Find the address and the device of a client."""
    settings = state.resources.settings
    return get_client(request, settings.trusted_proxies, settings.forwarded_header)


async def read_form(request: web.Request) -> dict[str, str]:
    """Read the fields of a form; of a repeated one the last counts.

    Raises an ``HttpError`` (415) for another media type.
    """
    if request.content_type != FORM:
        raise HttpError(415, "UNSUPPORTED_MEDIA_TYPE", f"The body must be {FORM}.")
    fields = await request.post()
    return {name: value for name, value in fields.items() if isinstance(value, str)}
