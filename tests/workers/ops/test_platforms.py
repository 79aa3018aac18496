"""Platforms and accounts over HTTP: what is shown, pauses and resumes, refusals."""

import re
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.security.encryption import Ciphertext
from infra.security.oauth_tokens import TokenSchedule
from infra.storage.pauses import PauseRow, PauseTarget, find_pause
from infra.storage.platform_accounts import put_account
from schemas.types import Platform
from schemas.users import User
from tests.workers.ops.conftest import MakeAccount, Visit

REASON = "wrong budgets, see <OPS-2240>"
HIDDEN = b"ciphertext of the tokens"


async def connect(engine: AsyncEngine, user: User, platform: Platform = "claude") -> None:
    times = TokenSchedule(now() + timedelta(minutes=34), now() + timedelta(minutes=30))
    async with engine.begin() as tx:
        await put_account(tx, user.id, platform, Ciphertext("key-1", HIDDEN), times, ["ads"])


async def add_campaigns(engine: AsyncEngine, owner: UUID, number: int, *, synced: int) -> None:
    async with engine.begin() as tx:
        await tx.execute(
            text("""
                insert into campaigns (id, owner_id, platform, name, status, desired_status,
                    budget_micros, currency, targeting, version, desired_version, synced_version)
                select gen_random_uuid(), :owner, 'claude', 'c', 'active', 'active', 1, 'EUR', '{}',
                    2, 2, :synced
                from generate_series(1, :number)
            """),
            {"owner": owner, "number": number, "synced": synced},
        )


async def find(engine: AsyncEngine, target: PauseTarget) -> PauseRow | None:
    async with engine.begin() as tx:
        return await find_pause(tx, target)


async def send_pause(visit: Visit, **fields: str) -> tuple[int, str]:
    form = {"kind": "platform", "name": "gemini", "reason": REASON, **fields}
    return await visit.send("/platforms/pause", **form)


async def test_a_lane_is_paused_and_resumed(
    inside: Visit, engine: AsyncEngine, admin: User
) -> None:
    page = (await inside.get("/platforms"))[1]
    assert "Pause platform gemini?" in page
    assert "Resume platform gemini?" not in page
    status, page = await send_pause(inside)
    assert status == 200, page
    assert "<h1>Platforms and accounts</h1>" in page
    row = page.split('id="platform-gemini"')[1].split("</tr>")[0]
    assert "Paused" in row
    assert "wrong budgets, see &lt;OPS-2240&gt;" in row
    assert admin.email in row
    assert f"gemini is paused by {admin.email}" in page
    found = await find(engine, PauseTarget("platform", "gemini"))
    assert found is not None
    assert (found.reason, found.paused_by) == (REASON, admin.email)
    status, page = await inside.send("/platforms/resume", kind="platform", name="gemini")
    assert status == 200
    assert "Pause platform gemini?" in page
    assert await find(engine, PauseTarget("platform", "gemini")) is None
    async with engine.begin() as tx:
        entries = await tx.execute(
            text("select action, subject, outcome from audit where actor = :id"), {"id": admin.id}
        )
        acts = {tuple(entry) for entry in entries}
    assert {("platform.pause", "gemini", "ok"), ("platform.resume", "gemini", "ok")} <= acts


async def test_an_account_is_shown_paused_and_resumed_where_the_reader_was(
    inside: Visit, engine: AsyncEngine, make_account: MakeAccount
) -> None:
    owner = await make_account("manager")
    await connect(engine, owner)
    await add_campaigns(engine, owner.id, 3, synced=1)
    await add_campaigns(engine, owner.id, 2, synced=2)
    here = f"/platforms?owner={owner.email}"
    page = (await inside.get(here))[1]
    assert owner.email in page
    assert "Connected" in page
    assert re.search("in 3[34] min", page)
    assert "to push </span>3<" in page
    assert HIDDEN.decode() not in page
    assert "key-1" not in page
    account = {"kind": "account", "name": "claude", "account": str(owner.id)}
    status, page = await send_pause(inside, here=here, **account)
    assert status == 200, page
    assert f"Resume account {owner.id} at claude?" in page
    assert page.count("wrong budgets") >= 2, "in the list and among the paused ones"
    status, page = await send_pause(inside, here=here, **account)
    assert status == 409
    assert "is paused since" in page
    assert owner.email in page
    status, page = await inside.send("/platforms/resume", here=here, **account)
    assert f"Pause account {owner.id} at claude?" in page
    status, page = await inside.send("/platforms/resume", here=here, **account)
    assert status == 409
    assert "is not paused. Nothing was changed." in page
    assert await find(engine, PauseTarget("account", "claude", str(owner.id))) is None


async def test_an_owner_of_campaigns_who_has_connected_nothing_is_found(
    inside: Visit, engine: AsyncEngine, make_account: MakeAccount
) -> None:
    owner = await make_account("manager")
    await add_campaigns(engine, owner.id, 501, synced=0)
    page = (await inside.get(f"/platforms?owner={owner.id}"))[1]
    assert "never connected" in page
    assert "of the newest 500" in page
    status, page = await inside.get("/platforms?owner=nobody@example.com")
    assert status == 422
    assert "No account has this e-mail address or id." in page
    status, page = await inside.get(f"/platforms?owner={uuid4()}")
    assert status == 200
    assert "No account matches" in page


async def test_accounts_are_listed_by_platform_and_state_in_pages(
    inside: Visit, engine: AsyncEngine, make_account: MakeAccount
) -> None:
    assert "No account is connected" in (await inside.get("/platforms"))[1]
    owners = [await make_account("viewer") for _ in range(14)]
    for owner in owners:
        await connect(engine, owner)
        await connect(engine, owner, "gemini")
    async with engine.begin() as tx:
        await tx.execute(
            text("""
                update platform_accounts set state = 'disconnected', reason = 'invalid_grant',
                    expires_at = null, due_at = null
                where user_id = :id and platform = 'gemini'
            """),
            {"id": owners[0].id},
        )
    page = (await inside.get("/platforms"))[1]
    assert "25 shown" in page
    following = page.split(">Next")[0].rpartition('href="')[2].partition('"')[0]
    rest = (await inside.get(following.replace("&amp;", "&")))[1]
    assert "3 shown" in rest
    seen = [owner.email for owner in owners if owner.email in page or owner.email in rest]
    assert len(seen) == len(owners)
    page = (await inside.get("/platforms?state=disconnected"))[1]
    assert "1 shown" in page
    assert "invalid_grant" in page
    assert "14 shown" in (await inside.get("/platforms?platform=claude&state=connected"))[1]
    assert "25 shown" in (await inside.get("/platforms?platform=myspace&after=x-y&state=z"))[1]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": "myspace"}, 404),
        ({"kind": "account", "name": "claude", "account": str(UUID(int=7))}, 404),
        ({"kind": "queue", "name": "auth.session"}, 409),
        ({"kind": "planet"}, 400),
    ],
    ids=str,
)
async def test_what_cannot_be_paused_is_refused_in_the_frame(
    inside: Visit, fields: dict[str, str], status: int
) -> None:
    found, page = await send_pause(inside, **fields)
    assert found == status
    assert "<nav" in page


@pytest.mark.parametrize(
    "here", ["https://evil.example/", "//evil.example", "/queues", "/platforms\\x"]
)
async def test_after_an_act_one_goes_nowhere_else(inside: Visit, here: str) -> None:
    status, page = await send_pause(inside, name="chatgpt", here=here)
    assert status == 200
    assert "<h1>Platforms and accounts</h1>" in page


async def test_a_short_reason_keeps_the_form_and_the_list(
    inside: Visit, engine: AsyncEngine, make_account: MakeAccount
) -> None:
    owner = await make_account("manager")
    await connect(engine, owner)
    account = {"kind": "account", "name": "claude", "account": str(owner.id)}
    status, page = await send_pause(
        inside, here=f"/platforms?owner={owner.email}", **account, reason="short"
    )
    assert status == 422
    assert "Not paused: a reason has 8 characters or more" in page
    assert 'value="short"' in page
    assert page.count(" open>") == 1
    assert await find(engine, PauseTarget("account", "claude", str(owner.id))) is None


async def test_a_read_only_session_sees_no_act_and_may_send_none(
    inside: Visit, engine: AsyncEngine
) -> None:
    await send_pause(inside, name="claude")
    await inside.send("/mode", mode="read-only")
    page = (await inside.get("/platforms"))[1]
    assert "wrong budgets" in page
    assert "/platforms/pause" not in page
    assert "/platforms/resume" not in page
    assert (await send_pause(inside))[0] == 403
    status, _ = await inside.send("/platforms/resume", kind="platform", name="claude")
    assert status == 403
    assert await find(engine, PauseTarget("platform", "claude")) is not None


async def test_without_the_token_of_the_form_nothing_is_paused(
    inside: Visit, engine: AsyncEngine
) -> None:
    status, _ = await inside.send(
        "/platforms/pause", "wrong", kind="platform", name="gemini", reason=REASON
    )
    assert status == 403
    assert await find(engine, PauseTarget("platform", "gemini")) is None
