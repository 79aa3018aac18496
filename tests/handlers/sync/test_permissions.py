"""A sync request reaches what its account may change at present."""

from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.sync.decisions import SyncTrigger, find_visible_campaign
from handlers.sync.permissions import restrict_sync_requests
from infra.storage.users import UserRow, insert_users
from schemas.users import Role, User
from tests.handlers.samples import OWNER, running, saved, sync_request


@pytest.mark.parametrize(
    ("role", "owns", "reached"),
    [
        ("admin", False, True),
        ("manager", False, False),
        ("manager", True, True),
        ("viewer", True, False),
        (None, True, False),
    ],
)
async def test_an_old_token_has_pushed_what_its_account_may_change_now(
    engine: AsyncEngine,
    role: Role | None,
    owns: bool,  # noqa: FBT001 - a column of the table above
    reached: bool,  # noqa: FBT001 - the same
) -> None:
    actor = uuid4()
    campaign = running(owner_id=actor if owns else OWNER)
    asked = sync_request(campaign, owner=None).model_copy(update={"actorid": str(actor)})
    triggers: list[SyncTrigger] = [saved(campaign), asked]
    async with engine.begin() as tx:
        if role is not None:
            user = User(id=actor, email="somebody@example.com", role=role)
            await insert_users(tx, [UserRow(user, "no password")])
        others, request = await restrict_sync_requests(triggers, tx)
    assert others is triggers[0]
    assert (find_visible_campaign(request, {campaign.id: campaign}) is not None) == reached


async def test_a_name_from_another_source_counts_for_nothing(engine: AsyncEngine) -> None:
    campaign = running(owner_id=OWNER)
    asked = sync_request(campaign, source="urn:acme:crm", owner=uuid4())
    forged = asked.model_copy(update={"actorid": str(uuid4())})
    async with engine.begin() as tx:
        assert await restrict_sync_requests([forged], tx) == [forged]
    assert find_visible_campaign(forged, {campaign.id: campaign}) is None
