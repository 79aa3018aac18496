"""The audit event: a security-relevant action, its actor, origin and outcome."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from events.envelope import Event, EventData


class AuditRecordedData(EventData):
    """One action: ``action`` such as ``login``, ``outcome`` is ``ok`` or the error code.

    ``actor`` is the account that acted, if known; ``subject`` names what it acted
    on; ``address`` and ``device`` are as the ingress saw them.
    """

    action: Annotated[str, Field(max_length=100)]
    outcome: Annotated[str, Field(max_length=100)]
    actor: UUID | None = None
    subject: Annotated[str, Field(max_length=200)] | None = None
    address: Annotated[str, Field(max_length=64)] | None = None
    device: Annotated[str, Field(max_length=200)] | None = None


class AuditRecorded(Event):
    """A security-relevant action was recorded in the audit log."""

    type: Literal["audit.recorded.v1"] = "audit.recorded.v1"
    data: AuditRecordedData
