"""The frame of every page in headless Chromium: widths, themes, keys, live values."""

from playwright.async_api import Browser, Page, expect

from schemas.users import User
from tests.workers.ops.browser import (
    chromium,
    log_in,
    open_page,
    page,
)

__all__ = ["chromium", "page"]


async def test_without_javascript_one_logs_in_changes_the_theme_and_logs_out(
    chromium: Browser, address: str, admin: User
) -> None:
    async with open_page(chromium, address, javascript=False) as page:
        await log_in(page, admin)
        await expect(page.locator("#live")).to_contain_text("As of")
        await page.click("button[popovertarget=me]")
        await page.click("button[name=theme][value=dark]")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await page.click("button[popovertarget=me]")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.locator("h1")).to_have_text("Log in to the console")


async def test_values_are_live_until_the_reader_holds_them(page: Page, admin: User) -> None:
    await log_in(page, admin)
    live = page.locator("#live")
    await expect(live).to_contain_text("Live,")
    await page.get_by_role("button", name="Hold").click()
    await expect(live).to_contain_text("Held at")
    await page.get_by_role("button", name="Go on").click()
    await expect(live).to_contain_text("Live,")


async def test_keys_lead_to_pages_and_stay_out_of_fields(page: Page, admin: User) -> None:
    await log_in(page, admin)
    await page.keyboard.press("/")
    await page.keyboard.type("gd?")
    assert await page.input_value("#q") == "gd?"
    await page.locator("#main").focus()
    await page.keyboard.press("?")
    await expect(page.locator("#keys")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.locator("#main").focus()
    await page.keyboard.press("g")
    await page.keyboard.press("d")
    await expect(page.locator("h1")).to_have_text("Dead letters")
