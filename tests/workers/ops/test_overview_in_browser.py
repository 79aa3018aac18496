"""The overview in headless Chromium: live without a reload, and on a phone without a script."""

from playwright.async_api import Browser, Page, expect
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.storage.pauses import PauseTarget, pause
from schemas.users import User
from tests.workers.ops.browser import (
    chromium,
    find_violations,
    log_in,
    open_page,
    overflows,
    page,
    picture,
)

__all__ = ["chromium", "page"]

QUEUE = "sync.gemini"


async def test_a_pause_is_seen_in_picture_strip_and_sentence_without_a_reload(
    page: Page, admin: User, engine: AsyncEngine
) -> None:
    async with engine.begin() as tx:
        await tx.execute(text("delete from pauses"))
    await log_in(page, admin)
    box = page.locator(f'.flow a[href="/queues#queue-{QUEUE}"]').first
    line = page.locator(f'.flow [data-live-state="flow.edge.lane.{QUEUE}.out"]').first
    await expect(page.locator(".flow")).to_be_visible()
    await expect(page.locator(".flow-narrow")).to_be_hidden()
    async with engine.begin() as tx:
        await pause(tx, PauseTarget("queue", QUEUE), reason="Gemini answers 503", paused_by="me")
        await tx.execute(text("update pauses set paused_at = now() - interval '2 hours'"))
    await expect(box).to_have_attribute("data-state", "paused")
    await expect(line).to_have_attribute("data-state", "paused")
    await expect(page.locator(".strip")).to_contain_text("1 paused")
    await expect(page.locator(".strip .state")).to_have_attribute("data-state", "warn")
    await expect(page.locator(".strip .state")).to_contain_text("1 ticket")
    await expect(page.locator(".lede")).to_contain_text(f"{QUEUE} is paused")
    await page.reload()
    await expect(page.locator("#attention")).to_contain_text("is paused for more than an hour")
    await expect(page.locator("#live")).to_contain_text("Live,")
    await picture(page, "overview-paused")
    assert await find_violations(page) == []
    await page.get_by_role("link", name="Runbook AdrelayPaused").click()
    await expect(page.locator("h1")).to_have_text("AdrelayPaused")
    assert await find_violations(page) == []


async def test_a_phone_without_a_script_shows_the_flow_as_a_list(
    chromium: Browser, address: str, admin: User
) -> None:
    async with open_page(chromium, address, width=390, javascript=False) as page:
        await log_in(page, admin)
        await expect(page.locator(".flow")).to_be_hidden()
        await expect(page.locator(".flow-narrow")).to_contain_text("campaigns.apply")
        await expect(page.locator(".chart").first).to_be_attached()
        assert not await overflows(page)
