"""Dead letters as operators list, read and edit them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from schemas.types import CamelCaseModel, FrozenModel

DeadLetterState = Literal["open", "replayed", "discarded"]


class DeadLetterSummary(FrozenModel):
    """A dead letter in a list; the same error at the same stage has the same fingerprint."""

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
    """A dead letter in full; ``body`` is None if it is too large to return."""

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

    ``headers`` and ``properties`` of the message may be given alone or with them; null removes
    one.
    """

    changes: Annotated[dict[str, Any] | None, Field(min_length=1, max_length=100)] = None
    body: str | None = None
    headers: PropertyChanges | None = None
    properties: PropertyChanges | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.changes is not None and self.body is not None:
            message = "give either changes or body"
            raise ValueError(message)
        if (self.changes, self.body, self.headers, self.properties) == (None,) * 4:
            message = "give changes or body, headers or properties"
            raise ValueError(message)
        return self


class DeadLetterValidation(FrozenModel):
    """The error that an edited dead letter still has; None if it can be decoded."""

    id: UUID
    wrong: str | None


class SkippedDeadLetter(FrozenModel):
    """A dead letter that was left unchanged, and why."""

    id: UUID
    reason: str


class BulkResult(FrozenModel):
    """How many dead letters were replayed or discarded, and which were left unchanged.

    ``more`` is true if there are dead letters that were not processed; ``next`` is then the
    value of ``after`` to continue with. Empty ``refused`` and ``next`` are left out.
    """

    count: int
    more: bool
    refused: tuple[SkippedDeadLetter, ...] = ()
    next: str | None = None

    @model_serializer(mode="wrap")
    def _without_empty_fields(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value not in (None, [], ())}
