"""The audit log as admins read it."""

from datetime import datetime
from uuid import UUID

from schemas.types import FrozenModel


class AuditEntry(FrozenModel):
    """What was done, by whom, from where; ``outcome`` is ``ok`` or the refusal's code.

    ``actor`` is the account that acted, where it is known; ``subject`` names what it acted
    upon; ``correlation_id`` leads to the request's other traces.
    """

    id: UUID
    at: datetime
    action: str
    outcome: str
    actor: UUID | None
    subject: str | None
    address: str | None
    device: str | None
    correlation_id: str | None
