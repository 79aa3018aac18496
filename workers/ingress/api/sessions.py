"""The principal's sessions and password: sessions are listed here, the auth worker changes them."""

import re

from aiohttp import web

from events import PasswordChangeRequested, SessionEndRequested
from events.envelope import now
from infra.errors import Outage
from infra.redis_errors import REDIS_ERRORS
from infra.security.refresh_token_rotation import read_rotation_counts
from infra.storage.sessions import expiry_cutoff, list_sessions
from infra.web.auth_worker import NO_STORE
from infra.web.errors import not_found, unavailable
from infra.web.responses import success
from schemas.sessions import AccountPasswordChange, ActiveSession, PasswordChange, SessionSelection
from workers.ingress.api.auth_rpc import call_and_respond
from workers.ingress.context import RequestContext
from workers.ingress.http.parsing import read_model

SESSION_ID = re.compile(r"[0-9a-f]{32}")


async def get_sessions(context: RequestContext) -> web.Response:
    """List the principal's active sessions, at most 200, the last used first.

    A session is over when Redis has lost it, or holds an older rotation than Postgres.
    """
    resources = context.state.resources
    since = expiry_cutoff(resources.settings, now())
    principal = context.principal
    try:
        rows = await context.state.database.read(list_sessions, principal.user_id, since)
        rotations = await read_rotation_counts(resources.redis, [row.id for row in rows])
    except (Outage, *REDIS_ERRORS):
        raise unavailable("Sessions cannot be listed right now.") from None
    active = [
        ActiveSession(
            id=row.id,
            device=row.device,
            address=row.address,
            started_at=row.started_at,
            last_used_at=row.last_used_at,
            current=row.id == principal.session_id,
        )
        for row in rows
        if rotations.get(row.id, -1) >= row.rotation_count
    ]
    return success(context.request_id, active, headers=NO_STORE)


async def delete_session(context: RequestContext) -> web.Response:
    """End one of the principal's sessions; its access token is valid until it expires."""
    session_id = context.request.match_info["id"]
    if not SESSION_ID.fullmatch(session_id):
        raise not_found("session")
    return await call_and_respond(
        context, SessionEndRequested, SessionSelection(session_id=session_id)
    )


async def delete_sessions(context: RequestContext) -> web.Response:
    """End all sessions of the principal except the current one."""
    return await call_and_respond(context, SessionEndRequested, SessionSelection())


async def post_password(context: RequestContext) -> web.Response:
    """Change the principal's password and end all other sessions."""
    body = await read_model(context.request, PasswordChange)
    change = AccountPasswordChange(account=context.principal.user_id, **body.model_dump())
    async with context.rate_limit.count_failure():
        return await call_and_respond(context, PasswordChangeRequested, change)
