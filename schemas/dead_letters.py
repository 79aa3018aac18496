"""Dead letters as operators see and mend them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from schemas.base import Frozen, Lenient

LetterState = Literal["open", "replayed", "discarded"]


class LetterEntry(Frozen):
    """A letter as it is listed; the same error at the same place has the same fingerprint."""

    id: UUID
    queue: str
    type: str | None
    source: str | None
    reason: str
    error_class: str
    place: str
    attempts: int
    first_failed_at: datetime
    last_failed_at: datetime
    fingerprint: str
    state: LetterState


class DeadLetter(LetterEntry):
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


class LetterPatch(Lenient):
    """The body of ``PATCH``: single fields by their dotted paths, or the whole body as text."""

    changes: Annotated[dict[str, Any] | None, Field(min_length=1, max_length=100)] = None
    body: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.changes is None) == (self.body is None):
            message = "give either changes or body"
            raise ValueError(message)
        return self


class Mended(Frozen):
    """What is still wrong with a mended letter, in words; None when it would be decoded."""

    id: UUID
    wrong: str | None


class Handled(Frozen):
    """How many letters were replayed or discarded, and whether more may be waiting for it."""

    count: int
    more: bool
