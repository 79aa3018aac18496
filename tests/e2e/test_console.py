"""The console against every process of a system: a poisoned event is found, mended and replayed.

In headless Chromium, with a script and without.
"""

from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import orjson
import pytest
from playwright.async_api import Browser, Page, expect
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import encode
from infra.amqp.permissions import UPSTREAM_USER
from infra.resources import Resources
from infra.settings import Settings
from infra.storage.users import UserRow, insert_users
from schemas.users import Role, User
from tests.e2e.system import eventually, running_system
from tests.handlers.samples import put, stored
from tests.infra.ledger import report
from tests.infra.parties import METRICS, OWNER, SOURCE, Party, party, register
from tests.workers.ops.browser import chromium, find_violations, open_page
from tests.workers.ops.conftest import PASSWORD
from workers.ops.csrf import REFUSED
from workers.ops.login import INPUT_KEPT, WRONG

__all__ = ["chromium"]

QUEUE = "metrics.record"
WAIT_MS = 60_000
CLICKS = """
    select platform_campaign_id, clicks from campaign_metrics m join campaigns c
    on c.id = m.campaign_id where platform_campaign_id like 'poison%' order by 1
"""
upstream = party(UPSTREAM_USER)


@pytest.fixture(autouse=True)
def patient_expectations() -> Iterator[None]:
    expect.set_options(timeout=WAIT_MS)
    yield
    expect.set_options(timeout=5_000)  # Playwright's default


async def make_account(engine: AsyncEngine, resources: Resources, role: Role) -> User:
    user = User(id=uuid4(), email=f"{role}-{uuid4().hex[:8]}@example.com", role=role)
    hashed = await resources.passwords.hash(PASSWORD)
    async with engine.begin() as tx:
        await insert_users(tx, [UserRow(user, hashed)])
    return user


async def publish_poison(upstream: Party, event_id: str) -> None:
    """Publish ten reports, one of which says nothing of its clicks."""
    for number in range(9):
        good = report(number, id=f"{event_id}-{number}", source=SOURCE)
        await upstream.publish(good, METRICS)
    event = orjson.loads(encode(report(7, id=event_id, source=SOURCE)))
    del event["data"]["clicks"]
    event["data"]["platform_campaign_id"] = event_id
    await upstream.publish(orjson.dumps(event), METRICS)


async def is_dead(engine: AsyncEngine, event_id: str) -> bool:
    async with engine.connect() as tx:
        query = text("select count(*) from dead_letters where event_id = :id")
        return bool((await tx.execute(query, {"id": event_id})).scalar_one())


async def send_login(page: Page, email: str, password: str) -> None:
    await page.goto("/dead-letters")
    await page.fill("#email", email)
    await page.fill("#password", password)
    await page.click("button.primary")


async def mend_and_replay(page: Page, event_id: str) -> None:
    """Find the letter, understand it, mend it, see that it would pass, and replay it."""
    await page.goto("/dead-letters")
    await expect(page.locator("table.groups")).to_contain_text("clicks")
    await page.fill("#f-text", event_id)
    await page.keyboard.press("Enter")
    letters = page.locator("table.letters tbody tr")
    await expect(letters).to_have_count(1)
    await letters.get_by_role("link").first.click()
    await expect(page.locator(".why-card")).to_contain_text("clicks")
    await page.get_by_label("clicks", exact=True).fill("3")
    await page.get_by_role("button", name="Save and dry run").click()
    await expect(page.locator(".dry")).to_contain_text("Would pass")
    await expect(page.locator(".diff")).to_contain_text('"clicks": 3')
    await page.get_by_role("button", name="Replay…").click()
    await page.locator("dialog:open").get_by_role("button", name="Replay letter").click()
    await expect(page.locator(".titleline")).to_contain_text("Replayed")


async def see_it_applied(page: Page) -> None:
    await page.get_by_role("link", name="Journey of the event").click()
    for _ in range(60):  # the journey is written behind the event
        if "Handled" in await page.locator("main").inner_text():
            break
        await page.wait_for_timeout(500)
        await page.reload()
    await expect(page.locator(".titleline .badge")).to_have_class("badge ok")


async def pause_and_resume(page: Page) -> None:
    await page.goto("/queues")
    row = page.locator(f"[id='queue-{QUEUE}']")
    await row.get_by_role("button").click()
    await page.keyboard.type("OPS-2231: index rebuild")
    await page.keyboard.press("Enter")
    await expect(page.locator("#paused tbody")).to_contain_text("OPS-2231")
    await row.get_by_role("button").click()
    await page.locator("dialog:open button.primary").click()
    await expect(page.locator("#paused")).to_contain_text("Nothing is paused")


async def see_every_process(page: Page, names: set[str]) -> None:
    """Wait until the console has asked each process of the system."""
    rows = page.locator("#processes tbody tr")
    for _ in range(60):
        await page.goto("/queues")
        words = await rows.locator(".st").all_inner_texts()
        if len(words) == len(names) and all(word.startswith("Ready") for word in words):
            break
        await page.wait_for_timeout(1000)
    assert {await one.inner_text() for one in await rows.locator("th").all()} == names
    await expect(rows.locator(".st [data-state=ok]")).to_have_count(len(names))
    await expect(page.locator("#processes")).not_to_contain_text("not known")


async def try_forged_and_late_forms(page: Page, engine: AsyncEngine, user: User) -> None:
    """Send a form with another token, then one whose session is over; its input comes back."""
    await page.goto("/queues")
    form = page.locator(f"#pause-queue-{QUEUE.replace('.', '-')} form")
    await form.locator("input[name=csrf]").evaluate("element => { element.value = 'x' }")
    await page.locator(f"[id='queue-{QUEUE}']").get_by_role("button").click()
    await page.keyboard.type("OPS-2231: with a forged token")
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_contain_text(REFUSED)
    await page.goto("/queues")
    await page.locator(f"[id='queue-{QUEUE}']").get_by_role("button").click()
    await page.keyboard.type("OPS-2232: sent too late")
    async with engine.begin() as tx:
        query = "update sessions set ended_at = now(), ended_by = 'revoked' where user_id = :id"
        await tx.execute(text(query), {"id": user.id})
    await page.keyboard.press("Enter")
    await expect(page.locator("#failed")).to_contain_text(INPUT_KEPT)
    await page.fill("#email", user.email)
    await page.fill("#password", PASSWORD)
    await page.click("button.primary")
    kept = page.locator("section[aria-labelledby=h-kept]")
    await expect(page.locator("h1")).to_have_text("Queues and workers")
    await expect(kept.locator("input[name=reason]")).to_have_value("OPS-2232: sent too late")
    assert await find_violations(page) == []
    await expect(page.locator("#paused")).to_contain_text("Nothing is paused")
    await kept.get_by_role("button", name="Forget it").click()
    await expect(kept).to_have_count(0)


@pytest.mark.timeout(900)
async def test_an_operator_finds_mends_and_replays_a_poisoned_event(
    settings: Settings,
    resources: Resources,
    engine: AsyncEngine,
    upstream: Party,
    chromium: Browser,
) -> None:
    await register(engine, SOURCE)
    for known in ("c-1", "poison-1", "poison-2"):
        await put(engine, stored(owner_id=OWNER, platform_campaign_id=known))
    admin = await make_account(engine, resources, "admin")
    manager = await make_account(engine, resources, "manager")
    async with running_system(settings) as system:
        address = f"http://127.0.0.1:{system.processes['ops'].port}"
        for event_id, javascript in (("poison-1", True), ("poison-2", False)):
            await publish_poison(upstream, event_id)
            await eventually(partial(is_dead, engine, event_id))
            async with open_page(chromium, address, javascript=javascript) as page:
                page.set_default_timeout(WAIT_MS)
                await send_login(page, manager.email, PASSWORD)
                await expect(page.locator("main")).to_contain_text("Yours has the role manager")
                await send_login(page, admin.email, "wrong")
                await expect(page.locator("#failed")).to_have_text(WRONG)
                await send_login(page, admin.email, PASSWORD)
                await expect(page.locator("h1")).to_have_text("Dead letters")
                await mend_and_replay(page, event_id)
                await see_it_applied(page)
                await pause_and_resume(page)
                if javascript:
                    await see_every_process(page, {*system.processes} - {"sandbox"})
                    await try_forged_and_late_forms(page, engine, admin)
        async with engine.connect() as tx:
            found = await tx.execute(text(CLICKS))
            assert [tuple(row) for row in found] == [("poison-1", 3), ("poison-2", 3)]
