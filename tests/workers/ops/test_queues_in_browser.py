"""Pause and resume in headless Chromium, with and without a script."""

import pytest
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
    page,
    picture,
)

__all__ = ["chromium", "page"]

QUEUE = "sync.gemini"


@pytest.fixture(autouse=True)
async def nothing_paused(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        await tx.execute(text("delete from pauses"))


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
async def test_an_admin_pauses_a_queue_and_resumes_it(
    chromium: Browser, address: str, admin: User, *, javascript: bool
) -> None:
    async with open_page(chromium, address, javascript=javascript) as page:
        await log_in(page, admin, "/queues")
        row = page.locator(f"[id='queue-{QUEUE}']")
        await row.get_by_role("button").click()
        dialog = page.locator("dialog:open")
        await expect(dialog).to_contain_text(f"Pause {QUEUE}?")
        await expect(dialog.locator("input[name=reason]")).to_be_focused()
        if javascript:
            await picture(page, "queues-dialog", full=False)
            assert await find_violations(page) == []
        await page.keyboard.type("Gemini answers 503 to every push")
        await page.keyboard.press("Enter")
        await expect(page.locator("#paused tbody")).to_contain_text("Gemini answers 503")
        await expect(row).to_contain_text("Paused")
        await expect(page.locator(".strip")).to_contain_text("1 paused")
        await row.get_by_role("button").click()
        await expect(dialog).to_contain_text(f"Resume {QUEUE}?")
        await dialog.locator("button.primary").click()
        await expect(page.locator("#paused")).to_contain_text("Nothing is paused")
        await expect(page.locator(".strip .paused")).to_be_hidden()


async def test_a_refused_pause_shows_its_form_again(
    chromium: Browser, address: str, admin: User
) -> None:
    async with open_page(chromium, address, javascript=False) as page:
        await log_in(page, admin, "/queues")
        await page.locator(f"[id='queue-{QUEUE}'] button").click()
        reason = page.locator("dialog:open input[name=reason]")
        await reason.fill("          ")  # long enough for the browser
        await reason.press("Enter")
        await expect(page.locator("dialog:open .error")).to_contain_text("Not paused")
        await expect(reason).to_be_in_viewport()


async def test_a_pause_from_elsewhere_is_seen_without_a_reload(
    page: Page, admin: User, engine: AsyncEngine
) -> None:
    await log_in(page, admin, "/queues")
    state = page.locator(f"[id='queue-{QUEUE}'] .state")
    await expect(page.locator(".strip .paused")).to_be_hidden()
    async with engine.begin() as tx:
        target = PauseTarget("queue", QUEUE)
        await pause(tx, target, reason="from the command line", paused_by="oncall")
    await expect(state).to_have_attribute("data-state", "paused")
    await expect(state).to_have_text("Paused")
    await expect(page.locator(".strip .paused")).to_have_text("1 paused")
