"""What was done that matters to security, by whom, from where, with which outcome."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from events.envelope import Event, EventData


class AuditRecordedData(EventData):
    """One act: ``action`` such as ``login``, ``outcome`` is ``ok`` or the refusal's code.

    ``actor`` is the account that acted, where it is known; ``subject`` names what it acted
    upon; ``address`` and ``device`` are as the ingress saw them.
    """

    action: Annotated[str, Field(max_length=100)]
    outcome: Annotated[str, Field(max_length=100)]
    actor: UUID | None = None
    subject: Annotated[str, Field(max_length=200)] | None = None
    address: Annotated[str, Field(max_length=64)] | None = None
    device: Annotated[str, Field(max_length=200)] | None = None


class AuditRecorded(Event):
    """A security-relevant act stands in the audit log."""

    type: Literal["audit.recorded.v1"] = "audit.recorded.v1"
    data: AuditRecordedData
