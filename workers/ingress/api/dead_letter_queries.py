"""The query parameters of the routes of dead letters."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.dead_letters import DeadLetterState
from schemas.types import FrozenModel, Text
from workers.ingress.http.pagination import PageQuery

Fingerprint = Annotated[Text, Field(max_length=100)]


class DeadLetterQuery(PageQuery):
    """Filters of the list of dead letters."""

    state: DeadLetterState | Literal["all"] = "open"
    fingerprint: Fingerprint | None = None


class DiscardQueueQuery(FrozenModel):
    """The open dead letters of a queue: all, or those of one fingerprint.

    ``after`` continues where an earlier response ended (its ``next``).
    """

    fingerprint: Fingerprint | None = None
    after: Annotated[Text, Field(max_length=100)] | None = None


class ReplayOneQuery(FrozenModel):
    """How to replay: ``new_id`` gives the event a fresh id.

    ``force`` replays even an event older than the inbox, or a command older than the campaign's
    latest change.
    """

    new_id: bool = False
    force: bool = False


class ReplayQueueQuery(ReplayOneQuery, DiscardQueueQuery):
    """The dead letters of a queue to replay, and how."""
