"""A request between its preparation and its reply: the command to apply, then the result."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from events import AuditRecorded, SessionStarted
from events.audit import AuditRecordedData
from events.envelope import Event
from events.sources import AUTH_SOURCE
from events.users import SessionStartedData
from handlers.auth.commands import Command
from handlers.auth.replies import Reply
from handlers.auth.requests import AuthRequest
from infra.security.refresh_token_rotation import Session
from schemas.users import ClientInfo

ANONYMOUS = ClientInfo()


@dataclass(frozen=True, slots=True)
class AuthResult:
    """The reply to a request, the events it caused, and what the audit log says about it.

    Without an ``actor`` the audit log names the account that the client is logged in with.
    """

    request: AuthRequest
    reply: Reply = field(repr=False)
    caused: tuple[Event, ...] = ()
    client: ClientInfo = ANONYMOUS
    actor: UUID | None = None
    subject: str | None = None

    @property
    def action(self) -> str:
        """What was requested: ``login`` for ``login.requested.v1``."""
        return self.request.type.rpartition(".")[0].removesuffix("requested").rstrip("._")

    @property
    def is_audited(self) -> bool:
        """Whether the audit log records it: no invalid input and no successful refresh."""
        routine = (self.action, self.outcome) == ("refresh", "ok")
        return not routine and self.outcome != "VALIDATION_ERROR"

    @property
    def outcome(self) -> str:
        """``ok``, or the code of the error."""
        return str(self.reply["error"]["code"]) if "error" in self.reply else "ok"


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request that was decrypted and checked, and the command that the transaction applies."""

    request: AuthRequest
    command: Command
    client: ClientInfo = ANONYMOUS
    actor: UUID | None = None
    subject: str | None = None

    def result(
        self,
        reply: Reply,
        caused: Sequence[Event] = (),
        *,
        actor: UUID | None = None,
        subject: str | None = None,
    ) -> AuthResult:
        """Build the result; ``actor`` and ``subject`` replace those known before."""
        return AuthResult(
            self.request,
            reply,
            tuple(caused),
            self.client,
            actor or self.actor,
            subject or self.subject,
        )


def audit_event(result: AuthResult) -> AuditRecorded:
    """Build the audit entry: who did what, from where, and with which outcome."""
    data = AuditRecordedData(
        action=result.action,
        outcome=result.outcome,
        actor=result.actor or result.client.account,
        subject=result.subject,
        address=result.client.address,
        device=result.client.device,
    )
    return AuditRecorded.caused_by(result.request, source=AUTH_SOURCE, data=data)


def session_started_event(request: Event, session: Session) -> SessionStarted:
    """Build the event of a session that starts."""
    data = SessionStartedData(user_id=session.user_id, session_id=session.id)
    return SessionStarted.caused_by(request, source=AUTH_SOURCE, data=data)
