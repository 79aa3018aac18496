"""Entries of the audit log as the API returns them."""

from datetime import datetime
from uuid import UUID

from schemas.types import FrozenModel


class AuditEntry(FrozenModel):
    """An action, its actor and origin; ``outcome`` is ``ok`` or the error code.

    ``actor`` is the account that acted, if known; ``subject`` names what it acted on;
    ``correlation_id`` is that of the request's events and log lines.
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
