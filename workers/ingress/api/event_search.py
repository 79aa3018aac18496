"""Where events are: accepted, handled, waiting or dead, and what they caused.

An admin sees all events. An API key sees those of its own sources and what Adrelay has made of
them; whatever else exists is not found, so that an answer reveals nothing about it.
"""

from typing import Annotated, Self

from aiohttp import web
from pydantic import Field, field_validator, model_validator

from events.sources import API_SOURCE
from infra.messaging.event_search import EventQuery, parse_cursor, search_events
from infra.security.operation_id import parse_operation_id
from infra.storage.event_index import LIST_END
from infra.web.responses import success
from schemas.escaping import escape_json
from schemas.events import EventField
from schemas.source_namespace import is_reserved_source
from schemas.types import FrozenModel, Text
from workers.ingress.context import RequestContext
from workers.ingress.http.parsing import read_query

Selector = Annotated[Text, Field(min_length=1, max_length=200)]
FIELDS: tuple[EventField, ...] = ("id", "subject", "correlation", "operation", "campaign")


class EventSearchQuery(FrozenModel):
    """What to look for: exactly one of id, subject, correlation, operation and campaign.

    ``source`` goes with ``id``. Subject, correlation and campaign give lists, the newest event
    first; ``after`` continues one where an earlier response ended (its ``next``).
    """

    id: Selector | None = None
    source: Selector | None = None
    subject: Selector | None = None
    correlation: Selector | None = None
    operation: Selector | None = None
    campaign: Selector | None = None
    after: Annotated[Text, Field(max_length=100)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20

    @field_validator("after")
    @classmethod
    def _check_after(cls, after: str | None) -> str | None:
        if after is not None:
            parse_cursor(after)
        return after

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if sum(getattr(self, name) is not None for name in FIELDS) != 1:
            message = f"give one of {', '.join(FIELDS)}"
            raise ValueError(message)
        if self.source is not None and self.id is None:
            message = "source goes with id"
            raise ValueError(message)
        return self


async def get_events(context: RequestContext) -> web.Response:
    """Find events and what became of them; without any, the list is empty."""
    asked = read_query(context.request, EventSearchQuery)
    field = next(name for name in FIELDS if getattr(asked, name) is not None)
    value: str = getattr(asked, field)
    query = EventQuery(
        field,
        value,
        asked.source,
        _list_visible_sources(context, field, value),
        LIST_END if asked.after is None else parse_cursor(asked.after),
        asked.limit,
    )
    found = await context.read("Events", search_events, query)
    response = success(context.request_id, found, headers={"Cache-Control": "no-store"})
    if isinstance(response.body, bytes):
        response.body = escape_json(response.body)
    return response


def _list_visible_sources(
    context: RequestContext, field: EventField, value: str
) -> frozenset[str] | None:
    """List the sources that the principal sees: an admin all (None), a key its own.

    A key sees the operations of its owner too, which ``GET /api/v1/operations/{id}`` shows it.
    """
    key = context.principal.api_key
    if key is None:
        return None if context.principal.is_admin else frozenset()
    own = frozenset(source for source in key.sources if not is_reserved_source(source))
    if field == "operation":
        known = parse_operation_id(context.state.operation_key, value)
        if known is not None and context.principal.may_see(known.owner):
            return own | {API_SOURCE}
    return own
