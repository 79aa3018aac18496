"""Prepares requests to the auth worker: what each one carries, and who prepares its command.

Redis decides whether a refresh token is good; Postgres decides whether its session is live.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

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
from events.envelope import Event
from handlers.auth.admin_commands import (
    prepare_key_creation,
    prepare_key_revocation,
    prepare_role_change,
)
from handlers.auth.commands import RevokeSession
from handlers.auth.login import prepare_login
from handlers.auth.password_change import prepare_password_change
from handlers.auth.platform_accounts import prepare_connection, prepare_disconnection
from handlers.auth.registration import prepare_registration
from handlers.auth.replies import describe_fields, error_reply, validation_reply
from handlers.auth.requests import AuthRequest, decrypt_request
from handlers.auth.results import AuthResult, PreparedRequest
from handlers.auth.session_refresh import (
    INVALID_REFRESH_TOKEN,
    REFRESH_TOKEN_REUSED,
    prepare_logout,
    prepare_refresh,
)
from handlers.auth.session_revocation import prepare_revocation
from infra.errors import Permanent
from infra.resources import Resources
from infra.security.refresh_token_rotation import (
    InvalidRefreshToken,
    RefreshTokenReused,
    SessionEnded,
)
from infra.security.sealed_box import InvalidBox
from schemas.api_keys import ApiKeyCreate, ApiKeyRef
from schemas.platform_accounts import AuthorizationCodeGrant, PlatformAccountRef
from schemas.sessions import AccountPasswordChange, SessionSelection
from schemas.types import FrozenModel
from schemas.users import KeyedRegistration, Login, Refresh, RoleAssignment


@dataclass(frozen=True, slots=True)
class AuthAction:
    """The model of a request's body, and the function that prepares its command."""

    shape: type[FrozenModel]
    prepare: Callable[[AuthRequest, Any, Resources], Awaitable[PreparedRequest | AuthResult]]


ACTIONS: Mapping[type[Event], AuthAction] = {
    RegistrationRequested: AuthAction(KeyedRegistration, prepare_registration),
    LoginRequested: AuthAction(Login, prepare_login),
    RefreshRequested: AuthAction(Refresh, prepare_refresh),
    LogoutRequested: AuthAction(Refresh, prepare_logout),
    SessionEndRequested: AuthAction(SessionSelection, prepare_revocation),
    PasswordChangeRequested: AuthAction(AccountPasswordChange, prepare_password_change),
    ApiKeyCreateRequested: AuthAction(ApiKeyCreate, prepare_key_creation),
    ApiKeyRevokeRequested: AuthAction(ApiKeyRef, prepare_key_revocation),
    UserRoleChangeRequested: AuthAction(RoleAssignment, prepare_role_change),
    PlatformConnectRequested: AuthAction(AuthorizationCodeGrant, prepare_connection),
    PlatformDisconnectRequested: AuthAction(PlatformAccountRef, prepare_disconnection),
}


async def prepare_auth_requests(
    requests: list[AuthRequest], resources: Resources
) -> list[PreparedRequest | AuthResult | Permanent]:
    """Do all that needs no transaction: decrypt, look up, hash, call Redis and the platforms."""
    return [await _prepare(request, resources) for request in requests]


async def _prepare(
    request: AuthRequest, resources: Resources
) -> PreparedRequest | AuthResult | Permanent:
    action = ACTIONS[type(request)]
    try:
        decryptor = resources.keys.payload_decryptor
        body, client = decrypt_request(request, action.shape, decryptor)
    except InvalidBox as error:
        # A registration is durable, so it is kept as a dead letter with its reason.
        if isinstance(request, RegistrationRequested):
            return Permanent(str(error), code="DECRYPTION_FAILED")
        return AuthResult(request, error_reply(400, "VALIDATION_ERROR", str(error)))
    except ValidationError as error:
        return AuthResult(request, validation_reply(describe_fields(error)))
    return replace(await _run(action, request, body, resources), client=client)


async def _run(
    action: AuthAction, request: AuthRequest, body: FrozenModel, resources: Resources
) -> PreparedRequest | AuthResult:
    """Prepare the command; what is wrong with a refresh token is written and replied too."""
    try:
        return await action.prepare(request, body, resources)
    except InvalidRefreshToken:
        return AuthResult(request, INVALID_REFRESH_TOKEN)
    except SessionEnded as error:
        # If the row is still live, Redis has lost the session.
        lost = RevokeSession(error.session_id, "redis_lost", INVALID_REFRESH_TOKEN)
        return PreparedRequest(request, lost, subject=error.session_id)
    except RefreshTokenReused as error:
        session = error.session
        reused = RevokeSession(session.id, "reuse", REFRESH_TOKEN_REUSED)
        return PreparedRequest(request, reused, actor=session.user_id, subject=session.id)
