"""The frame of every page in headless Chromium: widths, themes, keys, live values."""

import pytest
from playwright.async_api import Browser, Page, expect

from schemas.users import User
from tests.workers.ops.browser import (
    WIDTHS,
    ColorScheme,
    chromium,
    find_violations,
    log_in,
    open_page,
    overflows,
    page,
    picture,
)
from workers.ops.routes import ROUTES

__all__ = ["chromium", "page"]

PATHS = [route.path for route in ROUTES if route.method == "GET" and "{" not in route.path]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_login_and_overview_fit_every_width_and_are_accessible(
    chromium: Browser, address: str, admin: User, scheme: ColorScheme
) -> None:
    for width in WIDTHS:
        async with open_page(chromium, address, width=width, scheme=scheme) as page:
            await page.goto("/")
            await picture(page, f"login-{width}-{scheme}")
            assert await find_violations(page) == []
            await log_in(page, admin)
            await picture(page, f"overview-{width}-{scheme}")
            assert not await overflows(page)
            assert await find_violations(page) == []


async def test_every_page_opens_and_is_accessible(page: Page, admin: User) -> None:
    await log_in(page, admin)
    for path in PATHS:
        response = await page.goto(path)
        assert response is not None
        assert response.status == 200, path
        assert await find_violations(page) == [], path


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
