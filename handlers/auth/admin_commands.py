"""Applies the commands of admins: API keys and roles.

The ingress accepts an access token until it expires, so whether its owner is an admin *now* is
checked here, in the transaction that applies the command. Commands of admins run one after
the other, so two admins who demote each other at once cannot leave the system without one.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TypeVar

from events import UPSTREAM_EVENTS, SessionRevoked, UserRoleChanged
from events.sources import AUTH_SOURCE
from events.users import UserRoleChangedData
from handlers.auth.commands import ChangeRole, CreateApiKey, RevokeApiKey
from handlers.auth.replies import NO_CONTENT, error_reply, validation_reply
from handlers.auth.requests import AuthRequest
from handlers.auth.results import AuthResult, PreparedRequest
from handlers.auth.session_revocation import revoked_events
from infra.messaging.context import Context
from infra.resources import Resources
from infra.storage.api_keys import generate_api_key, insert_api_key, read_api_key
from infra.storage.api_keys import revoke_api_key as mark_revoked
from infra.storage.sessions import end_sessions_of, expiry_cutoff
from infra.storage.users import (
    count_admins,
    find_user,
    lock_and_get_admin,
    read_user,
    set_role,
)
from schemas.api_keys import PUBLISH_SCOPE, ApiKeyCreate, ApiKeyRef, NewApiKey
from schemas.scopes import ROLE_SCOPES
from schemas.users import RoleAssignment, User

FORBIDDEN = error_reply(403, "FORBIDDEN", "Your account may not do this.")
UNKNOWN_KEY = error_reply(404, "NOT_FOUND", "There is no such API key.")
UNKNOWN_USER = error_reply(404, "NOT_FOUND", "There is no such user.")
LAST_ADMIN = error_reply(409, "LAST_ADMIN", "The last admin has to stay one.")
MAX_KEY_LIFETIME = timedelta(days=3660)

C = TypeVar("C", CreateApiKey, RevokeApiKey, ChangeRole)


async def prepare_key_creation(
    request: AuthRequest, body: ApiKeyCreate, _: Resources
) -> PreparedRequest:
    """Prepare to create an API key."""
    return PreparedRequest(request, CreateApiKey(body))


async def prepare_key_revocation(
    request: AuthRequest, body: ApiKeyRef, _: Resources
) -> PreparedRequest:
    """Prepare to revoke an API key."""
    return PreparedRequest(request, RevokeApiKey(body.id), subject=str(body.id))


async def prepare_role_change(
    request: AuthRequest, body: RoleAssignment, _: Resources
) -> PreparedRequest:
    """Prepare to change the role of an account."""
    return PreparedRequest(request, ChangeRole(body.id, body.role), subject=str(body.id))


async def run_as_admin(
    apply: Callable[[PreparedRequest, C, Context], Awaitable[AuthResult]],
    prepared: PreparedRequest,
    command: C,
    ctx: Context,
) -> AuthResult:
    """Apply a command if the caller is an admin now; locks out other admin commands."""
    admin = await lock_and_get_admin(ctx.tx, prepared.client.account)
    if admin is None:
        return prepared.result(FORBIDDEN)
    return await apply(replace(prepared, actor=admin.id), command, ctx)


async def create_api_key(
    prepared: PreparedRequest, command: CreateApiKey, ctx: Context
) -> AuthResult:
    """Add an API key and reply with it; the key itself is stored as a hash only."""
    draft = command.key
    owner_id = draft.owner_id or prepared.actor
    invalid = _invalid_fields(draft, ctx)
    if owner_id is None or await find_user(ctx.tx, owner_id) is None:
        invalid.append({"field": "owner_id", "message": "must be the id of an account"})
    if invalid or owner_id is None:
        return prepared.result(validation_reply(invalid))
    key = generate_api_key()
    entry = await insert_api_key(
        ctx.tx,
        key,
        name=draft.name,
        owner_id=owner_id,
        scopes=draft.scopes,
        sources=draft.sources,
        expires_at=draft.expires_at,
    )
    if entry is None:
        raise RuntimeError("a random API key exists already")
    created = NewApiKey(**entry.model_dump(), key=key.key)
    reply = {"status": 201, "data": created.model_dump(mode="json")}
    return prepared.result(reply, subject=str(entry.id))


def _invalid_fields(draft: ApiKeyCreate, ctx: Context) -> list[dict[str, str]]:
    """Describe the fields of a new key that have the right form and cannot be accepted."""
    found = []
    types = [event.event_type() for event in UPSTREAM_EVENTS]
    patterns = [
        s.removeprefix(f"{PUBLISH_SCOPE}:")
        for s in draft.scopes
        if s.startswith(f"{PUBLISH_SCOPE}:")
    ]
    if not all(any(fnmatchcase(kind, pattern) for kind in types) for pattern in patterns):
        message = f"each pattern must cover at least one of {', '.join(types)}"
        found.append({"field": "scopes", "message": message})
    if draft.expires_at and not ctx.now < draft.expires_at <= ctx.now + MAX_KEY_LIFETIME:
        message = f"must lie ahead, by at most {MAX_KEY_LIFETIME.days} days"
        found.append({"field": "expires_at", "message": message})
    return found


async def revoke_api_key(
    prepared: PreparedRequest, command: RevokeApiKey, ctx: Context
) -> AuthResult:
    """Revoke an API key; revoking it again gets the same reply."""
    revoked = await mark_revoked(ctx.tx, command.key_id)
    exists = revoked or await read_api_key(ctx.tx, command.key_id) is not None
    return prepared.result(NO_CONTENT if exists else UNKNOWN_KEY)


async def change_role(prepared: PreparedRequest, command: ChangeRole, ctx: Context) -> AuthResult:
    """Change the role of an account; with a lower role its sessions end."""
    user = await read_user(ctx.tx, command.user_id)
    if user is None:
        return prepared.result(UNKNOWN_USER)
    if user.role == "admin" != command.role and await count_admins(ctx.tx) == 1:
        return prepared.result(LAST_ADMIN)
    changed = user.model_copy(update={"role": command.role})
    reply = {"status": 200, "data": changed.model_dump(mode="json")}
    if changed == user:
        return prepared.result(reply)
    await set_role(ctx.tx, changed)
    event = UserRoleChanged.caused_by(
        prepared.request,
        source=AUTH_SOURCE,
        data=UserRoleChangedData(user_id=user.id, role=changed.role, previous=user.role),
    )
    is_reduced = ROLE_SCOPES[changed.role] < ROLE_SCOPES[user.role]
    revoked = await _end_sessions(prepared, user, ctx) if is_reduced else []
    return prepared.result(reply, [event, *revoked])


async def _end_sessions(
    prepared: PreparedRequest, user: User, ctx: Context
) -> list[SessionRevoked]:
    since = expiry_cutoff(ctx.resources.settings, ctx.now)
    ended = await end_sessions_of(ctx.tx, user.id, "role_reduced", since=since, at=ctx.now)
    return revoked_events(prepared.request, ended, "role_reduced", ctx)
