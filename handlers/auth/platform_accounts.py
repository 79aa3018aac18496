"""Connects an account at an ad platform by OAuth, and disconnects it.

    connect     code -> tokens at the platform, no transaction open; then the row, encrypted
    disconnect  the row is marked; ``handlers.auth.token_refresh`` revokes the tokens at the
                platform and deletes the row

An authorization code can be used once. If the row cannot be written after its use, the owner is
asked to try again, and the platform revokes the tokens of a code that is presented twice (RFC
6749, section 4.1.2). When an account is connected again, its previous tokens are not revoked:
at many platforms that would end the new consent too.
"""

from datetime import datetime

from events import PlatformAccountConnected, PlatformAccountDisconnected
from events.envelope import now
from events.platform_accounts import PlatformAccountConnectedData, PlatformAccountDisconnectedData
from events.sources import AUTH_SOURCE
from handlers.auth.commands import ConnectAccount, DisconnectAccount
from handlers.auth.replies import NO_CONTENT, Reply, error_reply
from handlers.auth.requests import AuthRequest
from handlers.auth.results import AuthResult, PreparedRequest
from infra.http.client import HttpFailure
from infra.messaging.context import Context
from infra.platforms import PLATFORMS
from infra.platforms.oauth import OAuthError, build_redirect_uri
from infra.resources import Resources
from infra.security.oauth_tokens import build_tokens, encrypt_tokens, schedule_refresh
from infra.storage.platform_accounts import delete_account, put_account, request_disconnect
from infra.storage.sessions import expiry_cutoff, is_live
from schemas.oauth import TokenResponse
from schemas.platform_accounts import AuthorizationCodeGrant, PlatformAccountRef, PlatformConnection

SESSION_OVER = error_reply(
    401, "INVALID_TOKEN", "The session that began this is over; log in and connect again."
)
NOT_CONNECTED = error_reply(404, "NOT_FOUND", "No account at this platform is connected.")
DISCONNECTED_BY_OWNER = "its owner has disconnected it"


async def prepare_connection(
    request: AuthRequest, consent: AuthorizationCodeGrant, resources: Resources
) -> PreparedRequest | AuthResult:
    """Exchange an authorization code for tokens and encrypt them."""
    requested_at = now()
    since = expiry_cutoff(resources.settings, requested_at)
    async with resources.engine.connect() as connection:
        live = await is_live(connection, consent.session_id, consent.user_id, since)
    if not live:
        return _reject(request, consent, SESSION_OVER)
    grants = resources.oauth_clients[consent.platform].in_trace(request.trace_context)
    redirect = build_redirect_uri(resources.settings, consent.platform)
    try:
        grant = await grants.exchange(consent.code, consent.verifier, redirect)
    except OAuthError as error:
        return _reject(request, consent, _rejection_reply(consent, error))
    except HttpFailure as failure:
        message = f"{_title(consent)}: {failure.reason}. Connect it once more in a moment."
        return _reject(request, consent, error_reply(503, "PLATFORM_UNAVAILABLE", message))
    return PreparedRequest(
        request,
        _connect_command(consent, grant, requested_at, resources),
        actor=consent.user_id,
        subject=consent.platform,
    )


def _connect_command(
    consent: AuthorizationCodeGrant,
    grant: TokenResponse,
    requested_at: datetime,
    resources: Resources,
) -> ConnectAccount:
    tokens = build_tokens(grant)
    encryptor = resources.keys.encryptor
    return ConnectAccount(
        consent.user_id,
        consent.platform,
        encrypt_tokens(encryptor, consent.user_id, consent.platform, tokens),
        schedule_refresh(grant, tokens, requested_at),
        _granted_scopes(grant, consent),
    )


async def connect_account(
    prepared: PreparedRequest, command: ConnectAccount, ctx: Context
) -> AuthResult:
    """Write the encrypted tokens of an account."""
    user_id, platform, scopes = command.user_id, command.platform, command.scopes
    await put_account(ctx.tx, user_id, platform, command.tokens, command.schedule, scopes)
    connected = PlatformAccountConnected.caused_by(
        prepared.request,
        source=AUTH_SOURCE,
        subject=str(user_id),
        data=PlatformAccountConnectedData(platform=platform, user_id=user_id, scopes=scopes),
    )
    connection = PlatformConnection(platform=platform, state="connected", scopes=scopes)
    reply = {"status": 200, "data": connection.model_dump(mode="json")}
    return prepared.result(reply, [connected])


async def prepare_disconnection(
    request: AuthRequest, body: PlatformAccountRef, _: Resources
) -> PreparedRequest:
    """Prepare to disconnect an account; its state is read in the transaction."""
    command = DisconnectAccount(body.user_id, body.platform)
    return PreparedRequest(request, command, actor=body.user_id, subject=body.platform)


async def disconnect_account(
    prepared: PreparedRequest, command: DisconnectAccount, ctx: Context
) -> AuthResult:
    """Mark an account for revocation; publishes that once. Deletes a disconnected account."""
    user_id, platform = command.user_id, command.platform
    state = await request_disconnect(ctx.tx, user_id, platform)
    if state is None:
        deleted = await delete_account(ctx.tx, user_id, platform)
        return prepared.result(NO_CONTENT if deleted else NOT_CONNECTED)
    connection = PlatformConnection(platform=platform, state="disconnecting")
    reply = {"status": 202, "data": connection.model_dump(mode="json")}
    caused = [_disconnected_event(prepared, command)] if state == "connected" else []
    return prepared.result(reply, caused)


def _disconnected_event(
    prepared: PreparedRequest, command: DisconnectAccount
) -> PlatformAccountDisconnected:
    data = PlatformAccountDisconnectedData(
        platform=command.platform, user_id=command.user_id, reason=DISCONNECTED_BY_OWNER
    )
    return PlatformAccountDisconnected.caused_by(
        prepared.request, source=AUTH_SOURCE, subject=str(command.user_id), data=data
    )


def _reject(request: AuthRequest, consent: AuthorizationCodeGrant, reply: Reply) -> AuthResult:
    return AuthResult(request, reply, actor=consent.user_id, subject=consent.platform)


def _rejection_reply(consent: AuthorizationCodeGrant, error: OAuthError) -> Reply:
    details = f"{_title(consent)} says: {error.message or error.code}."
    if error.is_invalid_grant:
        message = f"The consent was not taken. {details} Connect the account once more."
        return error_reply(400, "CODE_REFUSED", message)
    return error_reply(502, "PLATFORM_REFUSED", f"The platform does not accept us. {details}")


def _title(consent: AuthorizationCodeGrant) -> str:
    return PLATFORMS[consent.platform].TITLE


def _granted_scopes(grant: TokenResponse, consent: AuthorizationCodeGrant) -> tuple[str, ...]:
    """List the granted scopes: the requested ones if the platform names none (RFC 6749, 5.1)."""
    return tuple((grant.scope or " ".join(PLATFORMS[consent.platform].SCOPES)).split())
