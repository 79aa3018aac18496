"""Headless Chromium for the pages of the console, and axe-core.

A test module that uses these imports the fixtures it needs: ``from tests.workers.ops.browser import
chromium, page``. ADRELAY_SCREENSHOTS names a folder where ``picture`` keeps what it sees.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Browser, Page, async_playwright

from infra.deploy.services.directories import CHECKOUT
from schemas.users import User
from tests.npm import find_node, install
from tests.workers.ingress.api.test_consent_in_browser import ARGUMENTS, PATIENCE_MS
from tests.workers.ops.conftest import PASSWORD

SOURCES = Path(__file__).with_name("axe")
FOLDER = CHECKOUT / ".services" / "test" / "axe"
WIDTHS = (1440, 820, 390)  # CSS pixels
SERIOUS = ("serious", "critical")
HEIGHT = 900

ColorScheme = Literal["light", "dark"]


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    program = shutil.which("chromium")
    assert program, "chromium is missing: python -m infra.deploy install"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS])
        yield browser
        await browser.close()


@asynccontextmanager
async def open_page(
    chromium: Browser,
    address: str,
    *,
    width: int = WIDTHS[0],
    scheme: ColorScheme = "light",
    javascript: bool = True,
) -> AsyncIterator[Page]:
    """Open a tab with cookies of its own; fails at the end for an error of a script or the CSP."""
    context = await chromium.new_context(
        base_url=address,
        viewport={"width": width, "height": HEIGHT},
        color_scheme=scheme,
        java_script_enabled=javascript,
        bypass_csp=False,
    )
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None,
    )
    try:
        yield page
    finally:
        await context.close()
    assert errors == []


@pytest.fixture
async def page(chromium: Browser, address: str) -> AsyncIterator[Page]:
    async with open_page(chromium, address) as page:
        yield page


async def log_in(page: Page, user: User, path: str = "/") -> None:
    """Go to a page as a person does: over the login form."""
    await page.goto(path)
    await page.fill("#email", user.email)
    await page.fill("#password", PASSWORD)
    await page.click("button.primary")
    await page.wait_for_selector("nav.side", state="attached")


@cache
def axe_source() -> str:
    """Read axe-core, installed from its lock."""
    _, npm = find_node()
    install(npm, SOURCES, ("package.json", "package-lock.json"), FOLDER)
    return (FOLDER / "node_modules" / "axe-core" / "axe.min.js").read_text()


async def find_violations(page: Page) -> list[str]:
    """Run axe-core on a page as it is; lists what is serious or worse, with where it is."""
    # Over the protocol of the browser's tools, which the page's policy does not concern.
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(axe_source())
    found: dict[str, Any] = await page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']]}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
    ]


async def overflows(page: Page) -> bool:
    """Tell whether the page is wider than its window."""
    script = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    return bool(await page.evaluate(script))


async def picture(page: Page, name: str, *, full: bool = True) -> None:
    """Keep a picture of the page, where ADRELAY_SCREENSHOTS names a folder."""
    folder = os.environ.get("ADRELAY_SCREENSHOTS")
    if folder:
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=full)
