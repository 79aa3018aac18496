"""What admins order: API keys and roles.

The ingress believes an access token for as long as it lives. Who is an admin *now* is asked
here, in the transaction that does what was ordered, and orders are taken one after the
other; so two admins who demote each other at once cannot leave nobody.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from events import (
    UPSTREAM_EVENTS,
    ApiKeyCreateRequested,
    ApiKeyRevokeRequested,
    UserRoleChanged,
    UserRoleChangeRequested,
)
from events.envelope import Event
from events.sources import AUTH_SOURCE
from events.users import UserRoleChangedData
from handlers.auth.requests import Answer, Sealed, invalid, refusal
from handlers.auth.session_revocation import told
from infra.messaging.context import Context
from infra.resources import Resources
from infra.storage.api_keys import generate_api_key, insert_api_key, read_api_key, revoke_api_key
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
from schemas.types import FrozenModel
from schemas.users import RoleAssignment, User

FORBIDDEN = refusal(403, "FORBIDDEN", "Your account may not do this.")
NO_KEY = refusal(404, "NOT_FOUND", "There is no such API key.")
NO_USER = refusal(404, "NOT_FOUND", "There is no such user.")
LAST_ADMIN = refusal(409, "LAST_ADMIN", "The last admin has to stay one.")
LONGEST = timedelta(days=3660)  # of a key's life


async def take_order(request: Sealed, body: FrozenModel, _: Resources) -> Answer:
    """Keep an order for the transaction, where it is found out whether an admin gives it."""

    async def carry_out(answer: Answer, ctx: Context) -> Answer:
        actor = await lock_and_get_admin(ctx.tx, answer.client.account)
        if actor is None:
            return answer
        deed = DEEDS[type(request)]
        return await deed(replace(answer, actor=actor.id), body, ctx)

    subject = str(body.id) if isinstance(body, ApiKeyRef | RoleAssignment) else None
    return Answer(request, FORBIDDEN, finish=carry_out, subject=subject)


async def _create_key(answer: Answer, draft: ApiKeyCreate, ctx: Context) -> Answer:
    owner_id = draft.owner_id or answer.actor
    wrong = _objections(draft, ctx)
    if owner_id is None or await find_user(ctx.tx, owner_id) is None:
        wrong.append({"field": "owner_id", "message": "must be the id of an account"})
    if wrong or owner_id is None:
        return replace(answer, reply=invalid(wrong))
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
        raise RuntimeError("a key made at random was there already")
    shown = NewApiKey(**entry.model_dump(), key=key.key)
    reply = {"status": 201, "data": shown.model_dump(mode="json")}
    return replace(answer, reply=reply, subject=str(entry.id))


def _objections(draft: ApiKeyCreate, ctx: Context) -> list[dict[str, str]]:
    """Say what is wrong with a draft beyond its form."""
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
    if draft.expires_at and not ctx.now < draft.expires_at <= ctx.now + LONGEST:
        message = f"must lie ahead, by at most {LONGEST.days} days"
        found.append({"field": "expires_at", "message": message})
    return found


async def _revoke_key(answer: Answer, ref: ApiKeyRef, ctx: Context) -> Answer:
    revoked = await revoke_api_key(ctx.tx, ref.id)
    there = revoked or await read_api_key(ctx.tx, ref.id) is not None
    return replace(answer, reply={"status": 204, "data": None} if there else NO_KEY)


async def _change_role(answer: Answer, wanted: RoleAssignment, ctx: Context) -> Answer:
    user = await read_user(ctx.tx, wanted.id)
    if user is None:
        return replace(answer, reply=NO_USER)
    if user.role == "admin" != wanted.role and await count_admins(ctx.tx) == 1:
        return replace(answer, reply=LAST_ADMIN)
    changed = user.model_copy(update={"role": wanted.role})
    answer = replace(answer, reply={"status": 200, "data": changed.model_dump(mode="json")})
    if changed == user:
        return answer
    await set_role(ctx.tx, changed)
    news = UserRoleChanged.caused_by(
        answer.request,
        source=AUTH_SOURCE,
        data=UserRoleChangedData(user_id=user.id, role=changed.role, previous=user.role),
    )
    answer = replace(answer, caused=(news,))
    return (
        await _log_out(answer, user, ctx)
        if ROLE_SCOPES[changed.role] < ROLE_SCOPES[user.role]
        else answer
    )


async def _log_out(answer: Answer, user: User, ctx: Context) -> Answer:
    """End the sessions of who may do less than before."""
    since = expiry_cutoff(ctx.resources.settings, ctx.now)
    ended = await end_sessions_of(ctx.tx, user.id, "role_reduced", since=since, at=ctx.now)
    return told(answer, ended, "role_reduced", ctx)


Deed = Callable[[Answer, Any, Context], Awaitable[Answer]]
DEEDS: Mapping[type[Event], Deed] = {
    ApiKeyCreateRequested: _create_key,
    ApiKeyRevokeRequested: _revoke_key,
    UserRoleChangeRequested: _change_role,
}
