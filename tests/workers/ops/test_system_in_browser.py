"""Platforms, settings and system in headless Chromium, with and without a script."""

import re

from playwright.async_api import Browser, Page, expect

from schemas.users import User
from tests.workers.ops.browser import chromium, log_in, open_page, page, picture

__all__ = ["chromium", "page"]


async def test_what_the_doctor_finds_comes_into_the_page_by_itself(page: Page, admin: User) -> None:
    await log_in(page, admin, "/system")
    doctor = page.locator("#doctor")
    await expect(doctor).to_contain_text("The doctor finds")
    await expect(doctor.locator("[aria-busy]")).to_have_count(0)
    await expect(page).to_have_url(re.compile("/system$"))
    await picture(page, "system-1440-light")


async def test_a_platform_is_paused_and_the_doctor_is_read_without_a_script(
    chromium: Browser, address: str, admin: User
) -> None:
    async with open_page(chromium, address, javascript=False) as page:
        await log_in(page, admin, "/system")
        await expect(page).to_have_url(f"{address}/system?wait")
        await expect(page.locator("#doctor")).to_contain_text("The doctor finds")
        await page.goto("/platforms")
        row = page.locator("#platform-gemini")
        await row.get_by_role("button").click()
        dialog = page.locator("dialog:open")
        await expect(dialog).to_contain_text("Pause platform gemini?")
        await dialog.locator("input[name=reason]").fill("Gemini answers 503 to every push")
        await dialog.locator("button.primary").click()
        await expect(row).to_contain_text("Gemini answers 503")
        await row.get_by_role("button").click()
        await dialog.locator("button.primary").click()
        await expect(row).not_to_contain_text("Gemini answers 503")
        await page.goto("/settings")
        await expect(page.locator("#INBOX_DAYS")).to_contain_text("30 days")
