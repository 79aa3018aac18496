"""The page of webhook sources in headless Chromium: policy, width, live values, no script."""

from datetime import timedelta

import orjson
from playwright.async_api import Browser, expect
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.storage.webhook_counts import WebhookCount, add_counts
from schemas.users import User
from tests.workers.ops.browser import (
    chromium,
    find_violations,
    log_in,
    open_page,
    overflows,
    picture,
)
from tests.workers.ops.webhooks import put_unrecognised, report

__all__ = ["chromium"]


async def test_an_admin_reads_webhooks_again_at_any_width_with_and_without_a_script(
    chromium: Browser, address: str, admin: User, engine: AsyncEngine
) -> None:
    moment = now()
    for number in range(2):
        body = orjson.dumps(report(clicks="two"))
        await put_unrecognised(engine, body, "data.clicks: no", delivery=f"e{number}")
    async with engine.begin() as tx:
        await add_counts(tx, [WebhookCount("claude", "outcome", "accepted", 9, moment)])
        await add_counts(tx, [WebhookCount("claude", "slot", "1", 9, moment)])
    async with open_page(chromium, address) as page:
        await log_in(page, admin, "/webhooks")
        await expect(page.locator("h1")).to_have_text("Webhook sources")
        gemini = page.locator("#source-gemini .state")
        await expect(gemini).to_have_attribute("data-state", "unknown")
        await picture(page, "webhooks-1440")
        async with engine.begin() as tx:
            at = moment - timedelta(seconds=1)
            await add_counts(tx, [WebhookCount("gemini", "outcome", "accepted", 3, at)])
        await expect(gemini).to_have_attribute("data-state", "ok")
        assert await find_violations(page) == []
        await page.get_by_role("button", name="Replay 2…").click()
        await expect(page.locator("dialog:open")).to_contain_text("Replay 2 webhooks?")
        assert await find_violations(page) == []
        await page.keyboard.press("Escape")
        await page.set_viewport_size({"width": 390, "height": 844})
        assert not await overflows(page)
        await picture(page, "webhooks-390")
    async with open_page(chromium, address, javascript=False) as page:
        await log_in(page, admin, "/webhooks")
        await page.get_by_role("button", name="Read all again").click()
        await expect(page.locator("#unrecognised tbody")).to_contain_text("still unrecognised")
        await page.get_by_role("link", name="Next").click()
        await expect(page.locator(".src .hit")).to_contain_text('"two"')
        await page.get_by_role("button", name="Replay 2…").click()
        await expect(page.locator("dialog:open")).to_contain_text("is not understood yet")
