"""Requests to the auth worker: their payload is encrypted by the ingress and decrypted here."""

from typing import TypeVar

from events import (
    ApiKeyCreateRequested,
    ApiKeyRevokeRequested,
    LoginRequested,
    LogoutRequested,
    PasswordChangeRequested,
    PlatformConnectRequested,
    PlatformDisconnectRequested,
    RefreshRequested,
    RegistrationRequested,
    SessionEndRequested,
    UserRoleChangeRequested,
)
from events.envelope import now
from events.sources import API_SOURCE
from infra.security.sealed_box import InvalidBox, PayloadDecryptor
from schemas.types import FrozenModel
from schemas.users import AuthRequestPayload, ClientInfo

Body = TypeVar("Body", bound=FrozenModel)
AuthRequest = (
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


def decrypt_request(
    request: AuthRequest, shape: type[Body], decryptor: PayloadDecryptor
) -> tuple[Body, ClientInfo]:
    """Decrypt and validate a request: its body, and the client that sent it to the ingress.

    A request of another source than the ingress is refused: a copy under another source has
    another identity in the inbox, so it would be handled a second time. Raises ``InvalidBox``
    and ``pydantic.ValidationError``.
    """
    if request.source != API_SOURCE:
        raise InvalidBox(f"only {API_SOURCE} may ask for this")
    payload = decryptor.decrypt(
        request.data.sealed, purpose=request.type, request_id=request.id, now=now()
    )
    opened = AuthRequestPayload.model_validate(payload)
    return shape.model_validate(opened.body), opened.client
