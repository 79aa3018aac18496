"""Decides whose campaigns a command may change, by the present role of its account."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from events.campaigns import CampaignCommand
from handlers.actor_roles import find_actor_roles, may_write_campaigns, parse_actor
from handlers.campaigns.commands import parse_owner
from schemas.operations import OperationError
from schemas.users import Role

FORBIDDEN = OperationError(code="FORBIDDEN", message="the account may not do this (any more)")

# The account whose campaigns a command may change, None for all campaigns, or an error.
PermittedOwner = UUID | None | OperationError


async def resolve_owners(
    events: Sequence[CampaignCommand], tx: AsyncConnection
) -> list[PermittedOwner]:
    """Return whose campaigns each command may change, or why it may change none.

    The owners must have been checked with ``parse_owner``.
    """
    roles = await find_actor_roles(events, tx)
    return [_resolve_owner(command, roles) for command in events]


def _resolve_owner(command: CampaignCommand, roles: Mapping[UUID, Role]) -> PermittedOwner:
    actor, owner = parse_actor(command), parse_owner(command)
    if actor is None:
        return owner
    role = roles.get(actor)
    if not may_write_campaigns(role):
        return FORBIDDEN
    return owner if role == "admin" else owner or actor
