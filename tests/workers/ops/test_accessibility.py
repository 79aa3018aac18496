"""axe-core on every page and dialog of the console: wide and narrow, light and dark."""

from collections.abc import Sequence
from itertools import cycle
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, Page
from sqlalchemy.ext.asyncio import AsyncEngine

from events.sources import API_SOURCE
from infra.storage.pauses import PauseTarget, pause
from schemas.users import User
from tests.workers.ops.browser import (
    HEIGHT,
    ColorScheme,
    chromium,
    find_violations,
    log_in,
    open_page,
    overflows,
    picture,
)
from tests.workers.ops.letters import figures, put_letter
from workers.ops.routes import ROUTES

__all__ = ["chromium"]

PLAIN = [
    route.path
    for route in ROUTES
    if route.method == "GET" and "{" not in route.path and not route.is_part
]
View = tuple[int, ColorScheme]  # width in CSS pixels, and theme
WIDE, NARROW = 1440, 390
VIEWS: tuple[View, ...] = ((WIDE, "light"), (NARROW, "dark"), (WIDE, "dark"), (NARROW, "light"))
ALTERNATING = [VIEWS[:1], VIEWS[1:2]]
# Of the dialogs that differ by what they are about, the first: pause-metrics-record, pause-...
DIALOGS = """() => {
    const kinds = new Map();
    for (const { id } of document.querySelectorAll("dialog[id]:not([open])")) {
        const kind = id.split("-")[0];
        if (!kinds.has(kind)) kinds.set(kind, id);
    }
    return [...kinds.values()];
}"""


async def list_pages(engine: AsyncEngine) -> Sequence[str]:
    """Fill what pages show, and list all of them, those of single things too."""
    async with engine.begin() as tx:
        target = PauseTarget("queue", "sync.gemini")
        await pause(tx, target, reason="Gemini answers 503, see OPS-2231", paused_by="oncall")
    letter = await put_letter(engine, figures(clicks=None))
    binary = await put_letter(engine, b"\xff\x00crm", event_id=None, type=None, source=None)
    return [
        *PLAIN,
        "/dead-letters?group=6afbcb11eb73",
        "/dead-letters?text=nothing",
        f"/dead-letters/{letter}",
        f"/dead-letters/{letter}?view=json",
        f"/dead-letters/{letter}?view=came",
        f"/dead-letters/{binary}",
        f"/events/e-1?source={quote(API_SOURCE)}",
        "/audit?actor=nobody",
        "/missing",
    ]


async def check(page: Page, path: str, views: Sequence[View]) -> list[str]:
    """Check a page as it is in each view, with its dialogs."""
    found = []
    for width, scheme in views:
        await page.set_viewport_size({"width": width, "height": HEIGHT})
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        where = f"{path} at {width}, {scheme}"
        found += [f"{where}: {one}" for one in await find_violations(page)]
        await picture(page, f"{path.strip('/').replace('/', '-')[:40]}-{width}-{scheme}")
        if await overflows(page):
            found.append(f"{where}: wider than its window")
        for dialog in await page.evaluate(DIALOGS):
            await page.evaluate("id => document.getElementById(id).showModal()", dialog)
            violations = await find_violations(page)
            found += [f"{where}, dialog {dialog}: {one}" for one in violations]
            await page.evaluate("id => document.getElementById(id).close()", dialog)
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("views", [ALTERNATING, pytest.param([VIEWS], marks=pytest.mark.long)])
async def test_no_page_and_no_dialog_has_a_serious_violation(
    chromium: Browser, address: str, admin: User, engine: AsyncEngine, views: list[Sequence[View]]
) -> None:
    """In the suite one page is looked at wide and light, the next one narrow and dark."""
    pages = await list_pages(engine)
    async with open_page(chromium, address) as page:
        await page.goto("/login")
        found = await check(page, "/login", views[0])
        await log_in(page, admin)
        for path, several in zip(pages, cycle(views), strict=False):
            response = await page.goto(path)
            assert response is not None
            assert response.status in {200, 404, 422}, path
            found += await check(page, path, several)
    assert found == []
