"""What a consent at a platform, and its withdrawal, come to.

    connect     code -> tokens at the platform, no transaction open; then the row, encrypted
    disconnect  the row is marked; ``handlers.auth.token_refresh`` revokes it at the platform and
    deletes it

A code is good for one use. If the row cannot be written after its use, the owner is told to
try again, and the platform revokes what came of a code that is shown twice (RFC 6749,
section 4.1.2). When an account is connected anew, the tokens before are not revoked: at
many platforms that would end the new consent too.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from events import PlatformAccountConnected, PlatformAccountDisconnected
from events.envelope import now
from events.platform_accounts import PlatformAccountConnectedData, PlatformAccountDisconnectedData
from events.sources import AUTH_SOURCE
from handlers.auth.requests import DONE, Answer, Sealed, refusal
from infra.http.client import HttpFailure
from infra.messaging.context import Context
from infra.platforms import PLATFORMS
from infra.platforms.oauth import OAuthError, build_redirect_uri
from infra.resources import Resources
from infra.security.encryption import Encryptor
from infra.security.oauth_tokens import build_tokens, encrypt_tokens, schedule_refresh
from infra.storage.platform_accounts import delete_account, put_account, request_disconnect
from infra.storage.sessions import expiry_cutoff, is_live
from schemas.oauth import TokenResponse
from schemas.platform_accounts import AuthorizationCodeGrant, PlatformAccountRef, PlatformConnection

SESSION_OVER = refusal(
    401, "INVALID_TOKEN", "The session that began this is over; log in and connect again."
)
NOT_CONNECTED = refusal(404, "NOT_FOUND", "No account at this platform is connected.")
BY_OWNER = "its owner has disconnected it"


async def connect(request: Sealed, consent: AuthorizationCodeGrant, resources: Resources) -> Answer:
    """Turn a code into tokens, or answer in words why not."""
    began = now()
    since = expiry_cutoff(resources.settings, began)
    async with resources.engine.connect() as connection:
        alive = await is_live(connection, consent.session_id, consent.user_id, since)
    if not alive:
        return _refused(request, consent, SESSION_OVER)
    grants = resources.oauth_clients[consent.platform]
    place = build_redirect_uri(resources.settings, consent.platform)
    try:
        grant = await grants.exchange(consent.code, consent.verifier, place)
    except OAuthError as refused:
        return _refused(request, consent, _in_words(consent, refused))
    except HttpFailure as failure:
        message = f"{_title(consent)}: {failure.reason}. Connect it once more in a moment."
        return _refused(request, consent, refusal(503, "PLATFORM_UNAVAILABLE", message))
    return _connected(request, consent, grant, began, resources)


def _connected(
    request: Sealed,
    consent: AuthorizationCodeGrant,
    grant: TokenResponse,
    began: datetime,
    resources: Resources,
) -> Answer:
    """Encrypt the tokens; the transaction writes them and tells that the account is there."""
    user_id, platform = consent.user_id, consent.platform
    tokens, scopes = build_tokens(grant), _scopes(grant, consent)
    times = schedule_refresh(grant, tokens, began)
    sealed = encrypt_tokens(Encryptor(resources.settings), user_id, platform, tokens)

    async def put(answer: Answer, ctx: Context) -> Answer:
        await put_account(ctx.tx, user_id, platform, sealed, times, scopes)
        return answer

    data = PlatformAccountConnectedData(platform=platform, user_id=user_id, scopes=scopes)
    connected = PlatformAccountConnected.caused_by(
        request, source=AUTH_SOURCE, subject=str(user_id), data=data
    )
    shown = PlatformConnection(platform=platform, state="connected", scopes=scopes)
    reply = {"status": 200, "data": shown.model_dump(mode="json")}
    return Answer(request, reply, (connected,), put, actor=user_id, subject=platform)


async def disconnect(request: Sealed, wish: PlatformAccountRef, _: Resources) -> Answer:
    """Stop using an account from the transaction on; tell it once."""
    user_id, platform = wish.user_id, wish.platform

    async def end(answer: Answer, ctx: Context) -> Answer:
        before = await request_disconnect(ctx.tx, user_id, platform)
        if before is None:
            gone = await delete_account(ctx.tx, user_id, platform)
            return replace(answer, reply=DONE) if gone else answer
        shown = PlatformConnection(platform=platform, state="disconnecting")
        reply = {"status": 202, "data": shown.model_dump(mode="json")}
        caused = (_gone(request, wish),) if before == "connected" else ()
        return replace(answer, reply=reply, caused=caused)

    return Answer(request, NOT_CONNECTED, finish=end, actor=user_id, subject=platform)


def _gone(request: Sealed, wish: PlatformAccountRef) -> PlatformAccountDisconnected:
    data = PlatformAccountDisconnectedData(
        platform=wish.platform, user_id=wish.user_id, reason=BY_OWNER
    )
    return PlatformAccountDisconnected.caused_by(
        request, source=AUTH_SOURCE, subject=str(wish.user_id), data=data
    )


def _refused(request: Sealed, consent: AuthorizationCodeGrant, reply: dict[str, Any]) -> Answer:
    return Answer(request, reply, actor=consent.user_id, subject=consent.platform)


def _in_words(consent: AuthorizationCodeGrant, refused: OAuthError) -> dict[str, Any]:
    said = f"{_title(consent)} says: {refused.message or refused.code}."
    if refused.is_invalid_grant:
        message = f"The consent was not taken. {said} Connect the account once more."
        return refusal(400, "CODE_REFUSED", message)
    return refusal(502, "PLATFORM_REFUSED", f"The platform does not accept us. {said}")


def _title(consent: AuthorizationCodeGrant) -> str:
    return PLATFORMS[consent.platform].TITLE


def _scopes(grant: TokenResponse, consent: AuthorizationCodeGrant) -> tuple[str, ...]:
    """Tell what was granted; what the platform does not say is what we asked for."""
    return tuple((grant.scope or " ".join(PLATFORMS[consent.platform].SCOPES)).split())
