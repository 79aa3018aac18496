"""What the account behind a write of the API may do *now*.

An access token is valid for up to a quarter of an hour after its account was demoted or
deleted. So the ingress names the account in ``actorid``, and the worker asks in the transaction
that does the write: an account without ``campaigns:write`` changes nothing, and only who is an
admin still reaches the campaigns of others. An API key has no ``actorid``: it was looked up when
the request came.
"""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from events import CampaignSyncRequested
from events.campaigns import CampaignCommand, CampaignRequest
from events.sources import API_SOURCE
from handlers.campaigns.commands import parse_owner
from handlers.sync.decisions import SyncTrigger
from infra.storage.users import find_roles
from schemas.operations import OperationError
from schemas.scopes import ROLE_SCOPES
from schemas.users import Role

WRITE = "campaigns:write"
FORBIDDEN = OperationError(code="FORBIDDEN", message="the account may not do this (any more)")
NO_OWNER = "nobody"  # the owner of no campaign

Owner = UUID | None | OperationError


async def resolve_owners(wishes: Sequence[CampaignCommand], tx: AsyncConnection) -> list[Owner]:
    """Tell whose campaigns each write may change (None: any), or why it may change none.

    Names of owners must have been checked (``parse_owner``).
    """
    roles = await _roles(wishes, tx)
    return [_owner(wish, roles) for wish in wishes]


async def restrict_sync_requests(
    hints: Sequence[SyncTrigger], tx: AsyncConnection
) -> list[SyncTrigger]:
    """Write into requests for a sync whose campaigns they may be about now."""
    asked = [hint for hint in hints if isinstance(hint, CampaignSyncRequested)]
    roles = await _roles(asked, tx)
    return [
        _restricted(hint, roles) if isinstance(hint, CampaignSyncRequested) else hint
        for hint in hints
    ]


async def _roles(requests: Iterable[CampaignRequest], tx: AsyncConnection) -> Mapping[UUID, Role]:
    actors = {actor for request in requests if (actor := _actor(request)) is not None}
    return await find_roles(tx, actors) if actors else {}


def _actor(request: CampaignRequest) -> UUID | None:
    if request.source != API_SOURCE or request.actorid is None:
        return None
    return UUID(request.actorid)


def _may_write(role: Role | None) -> bool:
    return role is not None and WRITE in ROLE_SCOPES[role]


def _owner(wish: CampaignCommand, roles: Mapping[UUID, Role]) -> Owner:
    actor, owner = _actor(wish), parse_owner(wish)
    if actor is None:
        return owner
    role = roles.get(actor)
    if not _may_write(role):
        return FORBIDDEN
    return owner if role == "admin" else owner or actor


def _restricted(hint: CampaignSyncRequested, roles: Mapping[UUID, Role]) -> CampaignSyncRequested:
    actor = _actor(hint)
    role = None if actor is None else roles.get(actor)
    if actor is None or role == "admin":
        return hint
    owner = hint.ownerid or str(actor)
    return hint.model_copy(update={"ownerid": owner if _may_write(role) else NO_OWNER})
