"""What stands in a sealed request, and what its sender is answered."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from pydantic import SecretStr, ValidationError

from events import (
    ApiKeyCreateRequested,
    ApiKeyRevokeRequested,
    AuditRecorded,
    LoginRequested,
    LogoutRequested,
    PasswordChangeRequested,
    PlatformConnectRequested,
    PlatformDisconnectRequested,
    RefreshRequested,
    RegistrationRequested,
    SessionEndRequested,
    SessionStarted,
    UserRoleChangeRequested,
)
from events.audit import AuditRecordedData
from events.envelope import Event, now
from events.sources import API_SOURCE, AUTH_SOURCE
from events.users import SessionStartedData
from infra.base64url import decode_key
from infra.messaging.context import Context
from infra.resources import Resources
from infra.security.access_tokens import TokenSigner
from infra.security.encryption import Encryptor
from infra.security.refresh_tokens import IssuedToken, RefreshTokenStore, Session
from infra.security.sealed_box import InvalidBox, decrypt_payload
from infra.settings import Settings
from infra.storage.users import UserRow, find_user_row
from schemas.types import FrozenModel
from schemas.users import AuthRequestPayload, ClientInfo, SessionTokens, User

Body = TypeVar("Body", bound=FrozenModel)
Sealed = (
    RegistrationRequested
    | LoginRequested
    | RefreshRequested
    | LogoutRequested
    | SessionEndRequested
    | PasswordChangeRequested
    | ApiKeyCreateRequested
    | ApiKeyRevokeRequested
    | UserRoleChangeRequested
    | PlatformConnectRequested
    | PlatformDisconnectRequested
)
# What is left for the transaction: it writes, and gives the answer that came of it.
Finish = Callable[["Answer", Context], Awaitable["Answer"]]

NOBODY = ClientInfo()
DONE = {"status": 204, "data": None}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request came to: the reply to its sender, the events it caused.

    ``finish`` is what the transaction may still make of it.
    """

    request: Sealed
    reply: dict[str, Any] = field(repr=False)
    caused: tuple[Event, ...] = ()
    finish: Finish | None = field(default=None, repr=False)
    client: ClientInfo = NOBODY
    actor: UUID | None = None
    subject: str | None = None

    @property
    def action(self) -> str:
        """What was asked for: ``login.requested.v1`` asks for a ``login``."""
        return self.request.type.rpartition(".")[0].removesuffix("requested").rstrip("._")

    @property
    def matters(self) -> bool:
        """Whether it belongs in the audit log: no typing errors, no session that goes on."""
        routine = (self.action, self.outcome) == ("refresh", "ok")
        return not routine and self.outcome != "VALIDATION_ERROR"

    @property
    def outcome(self) -> str:
        """``ok``, or the code of the refusal."""
        return str(self.reply["error"]["code"]) if "error" in self.reply else "ok"


def open_sealed(request: Sealed, shape: type[Body], settings: Settings) -> tuple[Body, ClientInfo]:
    """Open a request: its body, and who is at the other end.

    Only the ingress is believed: a copy under another source would be another event to
    the inbox. Raises ``InvalidBox`` and ``pydantic.ValidationError``.
    """
    if request.source != API_SOURCE:
        raise InvalidBox(f"only {API_SOURCE} may ask for this")
    keys = settings.seal_private_key
    payload = decrypt_payload(
        keys.get_secret_value() if keys else "",
        request.data.sealed,
        purpose=request.type,
        request_id=request.id,
        now=now(),
    )
    opened = AuthRequestPayload.model_validate(payload)
    return shape.model_validate(opened.body), opened.client


def act_of(answer: Answer) -> AuditRecorded:
    """Tell what was done, by whom, from where, and what came of it."""
    entry = AuditRecordedData(
        action=answer.action,
        outcome=answer.outcome,
        actor=answer.actor or answer.client.account,
        subject=answer.subject,
        address=answer.client.address,
        device=answer.client.device,
    )
    return AuditRecorded.caused_by(answer.request, source=AUTH_SOURCE, data=entry)


def sessions_of(resources: Resources) -> RefreshTokenStore:
    """Give the sessions in a process's Redis."""
    return RefreshTokenStore(resources.redis, resources.settings)


async def account_of(resources: Resources, key: str | UUID) -> UserRow | None:
    """Look an account up by its normalised address or its id."""
    async with resources.engine.connect() as connection:
        return await find_user_row(connection, key)


async def finish(answer: Answer, ctx: Context) -> Answer:
    """Do in the transaction what is left to do for an answer."""
    return answer if answer.finish is None else await answer.finish(answer, ctx)


def started(request: Event, session: Session) -> SessionStarted:
    """Tell that a session has begun."""
    data = SessionStartedData(user_id=session.user_id, session_id=session.id)
    return SessionStarted.caused_by(request, source=AUTH_SOURCE, data=data)


def check_keys(settings: Settings) -> None:
    """Raise ``ValueError``, naming the variable, unless every key of the auth worker is there."""
    if TokenSigner(settings).public not in settings.token_verify_keys:
        raise ValueError("TOKEN_SIGNING_KEY: its public key is not in TOKEN_VERIFY_KEYS")
    Encryptor(settings)
    for name in ("seal_private_key", "refresh_key"):
        secret: SecretStr | None = getattr(settings, name)
        for key in (secret.get_secret_value() if secret else "").split() or [""]:
            decode_key(key, name.upper())


def tokens_reply(
    status: int, settings: Settings, user: User, issued: IssuedToken, *, with_user: bool = True
) -> dict[str, Any]:
    """Answer with an access token and a refresh token of a session."""
    tokens = SessionTokens(
        user=user if with_user else None,
        access_token=TokenSigner(settings).sign(user, issued.session.id),
        refresh_token=issued.refresh_token,
        expires_in=settings.access_token_seconds,
    )
    return {"status": status, "data": tokens.model_dump(mode="json", exclude_none=True)}


def refusal(status: int, code: str, message: str) -> dict[str, Any]:
    """Answer with an error."""
    return {"status": status, "error": {"code": code, "message": message}}


def invalid(details: list[dict[str, str]]) -> dict[str, Any]:
    """Answer that fields are wrong, each with the reason in words."""
    reply = refusal(400, "VALIDATION_ERROR", "The request is not valid.")
    reply["error"]["details"] = details
    return reply


def details_of(error: ValidationError) -> list[dict[str, str]]:
    """Tell field by field what is wrong, without quoting what was sent."""
    return [
        {"field": ".".join(str(part) for part in line["loc"]), "message": line["msg"]}
        for line in error.errors(include_input=False, include_url=False, include_context=False)
    ]
