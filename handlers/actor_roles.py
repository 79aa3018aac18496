"""Reads the present role of the account behind a request of the API.

An access token stays valid for up to a quarter of an hour after its account was demoted or deleted.
So the ingress names the account in ``actorid``, and the worker reads its role in the transaction
that applies the request. A request with an API key has no ``actorid``: the ingress has looked the
key up. ``actorid`` from any other source is ignored.
"""

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from events.campaigns import CampaignRequest
from events.sources import API_SOURCE
from infra.storage.users import find_roles
from schemas.scopes import ROLE_SCOPES
from schemas.users import Role

WRITE_SCOPE = "campaigns:write"


def parse_actor(request: CampaignRequest) -> UUID | None:
    """Parse the account of an access token; None for a request without one."""
    if request.source != API_SOURCE or request.actorid is None:
        return None
    return UUID(request.actorid)


async def find_actor_roles(
    requests: Iterable[CampaignRequest], tx: AsyncConnection
) -> Mapping[UUID, Role]:
    """Read the roles of the accounts of requests; skips deleted accounts."""
    actors = {actor for request in requests if (actor := parse_actor(request)) is not None}
    return await find_roles(tx, actors) if actors else {}


def may_write_campaigns(role: Role | None) -> bool:
    """Return whether a role, None for a deleted account, may write campaigns."""
    return role is not None and WRITE_SCOPE in ROLE_SCOPES[role]
