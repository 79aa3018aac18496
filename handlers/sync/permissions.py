"""Restricts sync requests to the campaigns that their accounts may change at present."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from events import CampaignSyncRequested
from handlers.actor_roles import find_actor_roles, may_write_campaigns, parse_actor
from handlers.sync.decisions import SyncTrigger
from schemas.users import Role

NO_OWNER = "nobody"  # an owner without campaigns


async def restrict_sync_requests(
    triggers: Sequence[SyncTrigger], tx: AsyncConnection
) -> list[SyncTrigger]:
    """Set ``ownerid`` of sync requests to the account whose campaigns they may reach."""
    requests = [trigger for trigger in triggers if isinstance(trigger, CampaignSyncRequested)]
    roles = await find_actor_roles(requests, tx)
    return [
        _restrict(trigger, roles) if isinstance(trigger, CampaignSyncRequested) else trigger
        for trigger in triggers
    ]


def _restrict(request: CampaignSyncRequested, roles: Mapping[UUID, Role]) -> CampaignSyncRequested:
    actor = parse_actor(request)
    role = None if actor is None else roles.get(actor)
    if actor is None or role == "admin":
        return request
    owner = request.ownerid or str(actor)
    return request.model_copy(update={"ownerid": owner if may_write_campaigns(role) else NO_OWNER})
