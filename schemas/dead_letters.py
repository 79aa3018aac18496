"""Dead letters as operators see and mend them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from schemas.types import CamelCaseModel, FrozenModel

DeadLetterState = Literal["open", "replayed", "discarded"]


class DeadLetterSummary(FrozenModel):
    """A letter as it is listed; the same error at the same stage has the same fingerprint."""

    id: UUID
    queue: str
    type: str | None
    source: str | None
    reason: str
    error_class: str
    stage: str
    attempts: int
    first_failed_at: datetime
    last_failed_at: datetime
    fingerprint: str
    state: DeadLetterState


class DeadLetterDetail(DeadLetterSummary):
    """All that is known of a letter; ``body`` is None when it is too large to be shown."""

    routing_key: str
    message_id: str | None
    event_id: str | None
    worker: str
    replays: int
    filed_at: datetime
    acted_at: datetime | None
    acted_by: str | None
    properties: dict[str, Any]
    body: str | None


PropertyChanges = Annotated[dict[str, str | None], Field(min_length=1, max_length=100)]


class DeadLetterUpdate(CamelCaseModel):
    """The body of ``PATCH``: fields of the event by their dotted paths, or the body as text.

    ``headers`` and ``properties`` of the message may be given alone or beside them; one that is
    null is removed.
    """

    changes: Annotated[dict[str, Any] | None, Field(min_length=1, max_length=100)] = None
    body: str | None = None
    headers: PropertyChanges | None = None
    properties: PropertyChanges | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.changes is not None and self.body is not None:
            message = "give either changes or body"
            raise ValueError(message)
        if (self.changes, self.body, self.headers, self.properties) == (None,) * 4:
            message = "give changes or body, headers or properties"
            raise ValueError(message)
        return self


class DeadLetterValidation(FrozenModel):
    """What is still wrong with an edited letter, in words; None when it would be decoded."""

    id: UUID
    wrong: str | None


class SkippedDeadLetter(FrozenModel):
    """A letter that was left as it is, and why."""

    id: UUID
    reason: str


class BulkResult(FrozenModel):
    """How many letters were replayed or discarded, and which were left as they are.

    ``more`` tells whether letters are left that were not looked at; ``next`` is then the value
    of ``after`` to go on with. ``refused`` and ``next`` are left out where they say nothing.
    """

    count: int
    more: bool
    refused: tuple[SkippedDeadLetter, ...] = ()
    next: str | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value not in (None, [], ())}
