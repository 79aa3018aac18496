"""The result of each event that an upstream system publishes, and the reasons to reject one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal

from pydantic import ValidationError

from events import UPSTREAM_EVENTS
from events.envelope import REQUIRED_ATTRIBUTES, Event, now
from infra.storage.api_keys import ApiKey
from infra.web.errors import FieldError, HttpError
from schemas.api_keys import PUBLISH_SCOPE
from schemas.source_namespace import is_reserved_source
from schemas.types import FrozenModel
from workers.ingress.http.parsing import to_field_errors

MAX_CLOCK_SKEW = timedelta(minutes=5)
TYPES = ", ".join(event.event_type() for event in UPSTREAM_EVENTS)
STATUS = {"FORBIDDEN": 403, "CONTENT_TOO_LARGE": 413}


class EventFieldError(FrozenModel):
    """An error in one field of an event."""

    field: str
    message: str


class EventError(FrozenModel):
    """Why an event was rejected."""

    code: str
    message: str
    details: tuple[EventFieldError, ...] | None = None


class EventResult(FrozenModel):
    """The result of one event of a request, in the order of the events."""

    id: str | None
    status: Literal["accepted", "duplicate", "refused"]
    error: EventError | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an event is rejected."""

    code: str
    message: str
    details: tuple[FieldError, ...] = ()

    def to_result(self, event_id: str | None) -> EventResult:
        """Build the result of one event of a batch."""
        details = tuple(EventFieldError(field=d.field, message=d.message) for d in self.details)
        error = EventError(code=self.code, message=self.message, details=details or None)
        return EventResult(id=event_id, status="refused", error=error)

    def to_error(self) -> HttpError:
        """Build the error of a request with this one event."""
        return HttpError(STATUS.get(self.code, 400), self.code, self.message, details=self.details)


UNKNOWN_TYPE = Rejection(
    "VALIDATION_ERROR",
    "The event has no type that may be published here.",
    (FieldError("type", f"must be one of {TYPES}"),),
)
NOT_STORED = Rejection("SERVICE_UNAVAILABLE", "The event could not be stored; send it again.")
ID_REUSED = Rejection("ID_REUSED", "Another event of this request has the same source and id.")


def event_too_large(limit: int) -> Rejection:
    """Reject an event that is larger than the workers accept."""
    return Rejection("CONTENT_TOO_LARGE", f"An event may have at most {limit} bytes.")


def invalid_event(details: Sequence[FieldError]) -> Rejection:
    """Reject an event with invalid fields."""
    return Rejection("VALIDATION_ERROR", "The event is not valid.", tuple(details))


def parse_rejection(error: ValidationError, *, skip: int) -> Rejection:
    """Reject what is no valid event of a type that may be published here."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    if first["type"].startswith("union_tag"):  # its message quotes the type that was sent
        return UNKNOWN_TYPE
    details = tuple(to_field_errors(error, skip=skip))
    return Rejection("VALIDATION_ERROR", "The event is not valid.", details)


def check_permission(event: Event, key: ApiKey) -> Rejection | None:
    """Return why the key may not publish this valid event; None if it may."""
    # With a generated id, a repeated event would be a new event.
    if not event.model_fields_set >= REQUIRED_ATTRIBUTES:
        missing = sorted(REQUIRED_ATTRIBUTES - event.model_fields_set)
        details = tuple(FieldError(name, "Field required") for name in missing)
        return Rejection("VALIDATION_ERROR", "The event is not valid.", details)
    if event.source not in key.sources or is_reserved_source(event.source):
        return _foreign_source(event, key)
    if not _is_in_scope(event.type, key.scopes):
        held = ", ".join(scope for scope in key.scopes if scope.startswith(PUBLISH_SCOPE))
        wrong = FieldError("type", f"is not covered by the key's scopes: {held}")
        return Rejection("FORBIDDEN", f"This API key may not publish {event.type}.", (wrong,))
    if event.time - now() > MAX_CLOCK_SKEW:
        late = FieldError("time", "is more than 5 minutes ahead")
        return Rejection("VALIDATION_ERROR", "The event is not valid.", (late,))
    return None


def _foreign_source(event: Event, key: ApiKey) -> Rejection:
    """Reject a source that is not the key's; the message quotes it, its format is validated."""
    own = ", ".join(source for source in key.sources if not is_reserved_source(source))
    wrong = FieldError("source", f"must be one of the key's sources: {own or 'it has none'}")
    return Rejection("FORBIDDEN", f"This API key may not speak for {event.source}.", (wrong,))


@lru_cache(maxsize=1024)
def _is_in_scope(kind: str, scopes: tuple[str, ...]) -> bool:
    for scope in scopes:
        if scope == PUBLISH_SCOPE:
            return True
        if scope.startswith(f"{PUBLISH_SCOPE}:") and fnmatchcase(
            kind, scope[len(PUBLISH_SCOPE) + 1 :]
        ):
            return True
    return False
