"""A person connects an account with a real browser: headless Chromium, cookies, redirects and all.

ADRELAY_SCREENSHOTS names a folder where each last page is kept as a picture.
"""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from infra.settings import Settings
from tests.consent import PASSWORD, PLATFORM, Stage, open_stage

ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 15_000

# What a client of the API does: it sends its token by itself, then leads the browser away.
BEGIN = """
async ({path, token}) => {
    const headers = {"Authorization": `Bearer ${token}`, "Accept": "application/json"};
    const answer = await fetch(path, {headers});
    window.location = (await answer.json()).data.authorize_url;
}
"""


@pytest.fixture
async def stage(settings: Settings) -> AsyncIterator[Stage]:
    async with open_stage(settings) as stage:
        yield stage


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    program = shutil.which("chromium")
    assert program, "chromium is missing: python -m infra.deploy install"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS])
        yield browser
        await browser.close()


@pytest.fixture
async def page(stage: Stage, chromium: Browser) -> AsyncIterator[Page]:
    context = await chromium.new_context(base_url=stage.settings.public_url)
    context.set_default_timeout(PATIENCE_MS)
    yield await context.new_page()
    await context.close()


async def begin(page: Page, platform: str) -> str:
    """Log in over the API and go to the platform; gives the access token."""
    await page.goto("/healthz")
    account = {"email": "ada@example.com", "password": PASSWORD}
    request = page.context.request
    await request.post("/api/v1/auth/register", data=account)
    login = await request.post("/api/v1/auth/login", data=account)
    token = str((await login.json())["data"]["access_token"])
    await page.evaluate(BEGIN, {"path": f"{PLATFORM}/{platform}/connect", "token": token})
    return token


async def picture(page: Page, name: str) -> None:
    folder = os.environ.get("ADRELAY_SCREENSHOTS")
    if folder:
        await page.screenshot(path=Path(folder) / f"{name}.png")


async def test_who_allows_it_has_an_account_connected(stage: Stage, page: Page) -> None:
    token = await begin(page, "claude")
    allow = page.get_by_role("button", name="Allow")
    await allow.wait_for()
    assert page.url.startswith(f"{stage.sandbox.url}/claude/oauth/authorize?")
    assert await page.get_by_role("listitem").all_inner_texts() == [
        "campaigns:write",
        "metrics:read",
    ]
    await picture(page, "consent")
    [cookie] = await page.context.cookies(stage.settings.public_url + f"{PLATFORM}/claude/callback")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    await allow.click()
    await page.get_by_role("heading", name="Claude Ads is connected").wait_for()
    await picture(page, "connected")
    answer = await page.context.request.get(PLATFORM, headers={"Authorization": f"Bearer {token}"})
    [account] = (await answer.json())["data"]
    assert (account["platform"], account["state"]) == ("claude", "connected")
    assert await page.context.cookies(page.url) == []  # it was used up
    await page.reload()
    await page.get_by_role("heading", name="Not connected").wait_for()
    assert "used before" in await page.inner_text("p >> nth=0")


async def test_a_denied_consent_shows_that_nothing_is_connected(page: Page) -> None:
    token = await begin(page, "gemini")
    await page.get_by_role("button", name="Deny").click()
    await page.get_by_role("heading", name="Not connected").wait_for()
    assert await page.inner_text("p >> nth=0") == "You have not given your consent at Gemini Ads."
    await picture(page, "denied")
    answer = await page.context.request.get(PLATFORM, headers={"Authorization": f"Bearer {token}"})
    assert (await answer.json())["data"] == []


async def test_words_of_a_platform_cannot_become_markup(stage: Stage, page: Page) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    await stage.sandbox.faults("chatgpt", consent_error="<img src=x onerror=console.log(1)>")
    await begin(page, "chatgpt")
    await page.get_by_role("heading", name="Not connected").wait_for()
    assert "<b>test</b>" in await page.inner_text("p >> nth=0")
    assert await page.locator("b, img, script").count() == 0
    # Nothing ran and the policy had nothing to forbid: only statuses are remarked on.
    assert [line for line in said if not line.startswith("Failed to load resource")] == []
    await picture(page, "refused")
