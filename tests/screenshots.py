"""``python -m tests.screenshots [folder]``: pictures of the console that runs in this checkout.

It logs in as the admin of ``.services/env`` and writes a PNG of the pages that docs show, for each
width and theme. Run it after ``make up`` and ``make demo REPEAT=3``; without a folder it writes the
few pictures that docs use, to ``docs/images``. Meanwhile a queue is paused, so that there is
something to see.
"""

import argparse
import asyncio
import shutil
from pathlib import Path

from playwright.async_api import Page, async_playwright

from infra.deploy.env_files import env_file
from infra.deploy.procfile import planned
from infra.deploy.services.directories import CHECKOUT, RUN_DIRECTORY
from infra.env_file import read_env_file

IMAGES = CHECKOUT / "docs" / "images"
HEIGHT = 900
WIDTHS = (1440, 820, 390)  # CSS pixels
SCHEMES = ("light", "dark")
QUEUE = "sync.gemini"
# Pages by name; a second address is a link to follow from the first.
PAGES = {
    "overview": ("/", None),
    "dead-letters": ("/dead-letters", None),
    "dead-letter": ("/dead-letters", "table.letters tbody th a"),
    "event": ("/events?type=campaign.create_requested.v1", "table.events tbody th a"),
    "queues": ("/queues", None),
    "webhooks": ("/webhooks", None),
}
# What docs show: name, width, theme.
SHOWN = {
    ("overview", 1440, "light"),
    ("overview", 1440, "dark"),
    ("overview", 390, "light"),
    ("dead-letters", 1440, "light"),
    ("dead-letter", 1440, "light"),
    ("event", 1440, "light"),
    ("queues", 1440, "light"),
    ("webhooks", 1440, "light"),
}


async def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where every picture goes")
    folder = parser.parse_args().folder
    directory = RUN_DIRECTORY
    values = read_env_file(env_file(directory))
    console = next(process.url for process in planned(directory) if process.name == "ops")
    (folder or IMAGES).mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        program = shutil.which("chromium")
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = await browser.new_context(base_url=console)
        context.set_default_timeout(60_000)
        page = await context.new_page()
        await page.goto("/login")
        await page.fill("#email", values["ADRELAY_ADMIN_EMAIL"])
        await page.fill("#password", values["ADRELAY_ADMIN_PASSWORD"])
        await page.click("button.primary")
        await page.wait_for_selector("nav.side", state="attached")
        await pause(page)
        try:
            for name in PAGES:
                await take(page, name, folder)
        finally:
            await resume(page)
            await browser.close()


async def pause(page: Page) -> None:
    """Pause a queue, as a person does."""
    await page.goto("/queues")
    await page.locator(f"[id='queue-{QUEUE}'] .act button").click()
    await page.keyboard.type("Gemini answers 503 to every push; see OPS-2231")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#paused tbody")


async def resume(page: Page) -> None:
    """Resume it."""
    await page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
    await page.goto("/queues")
    await page.locator(f"[id='queue-{QUEUE}'] .act button").click()
    await page.locator("dialog:open button.primary").click()
    await page.wait_for_selector("#paused .empty")


async def take(page: Page, name: str, folder: Path | None) -> None:
    """Take the pictures of a page."""
    path, link = PAGES[name]
    await page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
    await page.goto(path)
    if link is not None:
        await page.locator(link).first.click()
    await page.wait_for_selector("[aria-busy=true]", state="detached")
    await page.wait_for_timeout(3000)  # milliseconds: a live message has come
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": HEIGHT})
        for scheme in SCHEMES:
            if folder is None and (name, width, scheme) not in SHOWN:
                continue
            await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            file = (folder or IMAGES) / f"{name}-{width}-{scheme}.png"
            await page.screenshot(path=file, full_page=folder is not None)


if __name__ == "__main__":
    asyncio.run(main())
