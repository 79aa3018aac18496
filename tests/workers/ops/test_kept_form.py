"""The input of a form that was sent when its session was over comes back after the login."""

import re
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.storage.pauses import PauseTarget, find_pause
from infra.storage.tables import sessions
from schemas.users import User
from tests.workers.ops.conftest import TOKEN, Visit, visiting
from workers.ops.kept_form import MAX_AGE, MAX_BYTES, KeptForm, KeptFormSealer
from workers.ops.login import INPUT_KEPT, TOO_LARGE
from workers.ops.session import KEPT_PREFIX, KEY_PREFIX

REASON = "Gemini answers 503, <see> OPS-2231"
FIELDS = {"kind": "queue", "name": "sync.gemini", "reason": REASON}
KEPT = re.compile(r'name="kept" value="([^"]+)"')
FORM = KeptForm(action="/queues/pause", page="/queues", fields=FIELDS, sent_at=now())


@pytest.fixture(autouse=True)
async def nothing_paused(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await tx.execute(text("delete from pauses"))


async def is_paused(engine: AsyncEngine) -> bool:
    async with engine.begin() as tx:
        return await find_pause(tx, PauseTarget("queue", "sync.gemini")) is not None


async def send_too_late(
    visit: Visit, engine: AsyncEngine, token: str | None = None, **fields: str
) -> tuple[int, str]:
    """Send the form of a pause after its session has been ended elsewhere."""
    form = {"csrf": await visit.token() if token is None else token, **FIELDS, **fields}
    async with engine.begin() as tx:
        await tx.execute(update(sessions).values(ended_at=now(), ended_by="revoked"))
    headers = {"Referer": f"{visit.address}/queues?x=1"}
    async with visit.client.post("/queues/pause", data=form, headers=headers) as response:
        return response.status, await response.text()


async def log_in_again(visit: Visit, page: str, email: str, **more: str) -> tuple[int, str]:
    kept, token = KEPT.search(page), TOKEN.search(page)
    assert token
    fields = {"csrf": token[1], "kept": kept[1] if kept else "", **more}
    return await visit.log_in(email, next_path="/queues?x=1", **fields)


async def test_after_the_login_the_page_has_the_input_and_nothing_was_done_by_itself(
    inside: Visit, engine: AsyncEngine, admin: User
) -> None:
    status, page = await send_too_late(inside, engine)
    assert status == 401
    assert INPUT_KEPT in page
    assert "continue at <b>/queues?x=1</b>" in page
    assert "OPS-2231" not in page
    status, page = await log_in_again(inside, page, admin.email)
    assert status == 200
    assert "<h1>Queues and workers</h1>" in page
    assert "Not sent: your session was over" in page
    assert 'value="Gemini answers 503, &lt;see&gt; OPS-2231"' in page
    assert not await is_paused(engine)
    assert "Not sent" not in (await inside.get("/audit"))[1], "it is on its own page alone"
    status, page = await inside.send("/queues/pause", kept_form="1", **FIELDS)
    assert status == 200
    assert await is_paused(engine)
    assert "Not sent" not in (await inside.get("/queues?x=1"))[1]


async def test_the_input_can_be_forgotten(
    inside: Visit, engine: AsyncEngine, admin: User, redis: Redis
) -> None:
    _, page = await send_too_late(inside, engine)
    await log_in_again(inside, page, admin.email, read_only="on")
    _, page = await inside.get("/queues?x=1")
    assert "This session is read-only" in page
    stored = [await redis.get(key) async for key in redis.scan_iter(f"{KEPT_PREFIX}{KEY_PREFIX}*")]
    assert stored
    assert "OPS-2231" not in str(stored)
    await inside.send("/forget-input", here="/queues?x=1")
    assert "Not sent" not in (await inside.get("/queues?x=1"))[1]


async def test_another_browser_does_not_get_the_input(
    inside: Visit, engine: AsyncEngine, admin: User, address: str
) -> None:
    _, page = await send_too_late(inside, engine)
    kept = KEPT.search(page)
    assert kept
    async with visiting(address) as other:
        status, page = await other.log_in(admin.email, next_path="/queues", kept=kept[1])
        assert status == 200
        assert "Not sent" not in page


async def test_a_form_of_another_site_is_not_kept(inside: Visit, engine: AsyncEngine) -> None:
    status, page = await send_too_late(inside, engine, token="A" * 43)
    assert status == 401
    assert not KEPT.search(page)


async def test_a_large_input_is_not_kept_and_the_page_says_so(
    inside: Visit, engine: AsyncEngine
) -> None:
    status, page = await send_too_late(inside, engine, reason="x" * MAX_BYTES)
    assert status == 401
    assert TOO_LARGE in page
    assert not KEPT.search(page)


async def test_a_wrong_password_keeps_the_input_and_no_password_is_ever_kept(
    inside: Visit, engine: AsyncEngine, admin: User
) -> None:
    _, page = await send_too_late(inside, engine, new_password="swordfish")
    status, page = await log_in_again(inside, page, admin.email, password="wrong")
    assert status == 401
    assert KEPT.search(page)
    _, page = await log_in_again(inside, page, admin.email)
    assert "OPS-2231" in page
    assert "swordfish" not in page


def test_a_sealed_form_opens_with_its_session_and_key_until_it_is_too_old() -> None:
    sealer = KeptFormSealer(b"k" * 32)
    sealed = sealer.seal(FORM, "session")
    assert sealed
    assert sealer.open(sealed, "session") == FORM
    assert sealer.open(sealed, "other") is None
    assert KeptFormSealer(b"x" * 32).open(sealed, "session") is None
    assert sealer.open(sealed[:-8] + "AAAAAAAA", "session") is None
    assert sealer.open("%", "session") is None
    old = FORM.model_copy(update={"sent_at": now() - MAX_AGE - timedelta(seconds=1)})
    assert sealer.open(sealer.seal(old, "session") or "", "session") is None
