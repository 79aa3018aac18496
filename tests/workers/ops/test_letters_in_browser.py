"""A dead letter is mended in its form, and its group replayed, in headless Chromium."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, ViewportSize, expect
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.messaging.dead_letter_job_runner import run_dead_letter_jobs
from infra.resources import Resources
from schemas.users import User
from tests.workers.ops.browser import (
    chromium,
    find_violations,
    log_in,
    overflows,
    page,
    picture,
)
from tests.workers.ops.letters import figures, put_letter
from tests.workers.ops.test_letter_jobs import GROUP, OURS

__all__ = ["chromium", "page"]

PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture
async def relay(resources: Resources) -> AsyncIterator[None]:
    """Run the jobs, as the relay does."""
    stop = asyncio.Event()
    running = asyncio.create_task(run_dead_letter_jobs(resources, stop))
    yield
    stop.set()
    await running


async def put_group(engine: AsyncEngine, letters: int) -> str:
    """File a group of letters, the first with a wrong body; returns its path."""
    async with engine.begin() as tx:
        await tx.execute(text("delete from dead_letters"))
    wrong = figures("w-1", spend=None, spend_eur=1.5, conversions="n/a")
    first = await put_letter(engine, wrong, properties=OURS, event_id="w-1")
    for number in range(letters - 1):
        name = f"e-{number}"
        await put_letter(engine, figures(name), properties=OURS, event_id=name)
    return f"/dead-letters/{first}"


@pytest.mark.usefixtures("relay")
async def test_a_letter_is_mended_in_its_form_and_its_group_replayed_with_progress(
    page: Page, admin: User, engine: AsyncEngine
) -> None:
    path = await put_group(engine, 6)
    await log_in(page, admin, path)
    await expect(page.locator(".dry")).to_contain_text("Would not pass")
    conversions = page.get_by_label("conversions", exact=True)
    await expect(conversions).to_have_value("n/a")
    await expect(page.locator(".frow.is-bad", has=conversions)).to_contain_text("valid integer")
    await picture(page, "letter-form")
    assert await find_violations(page) == []
    await page.get_by_label("spend", exact=True).fill("1.5")
    await page.get_by_label("Remove this field").check()
    await page.get_by_role("button", name="Save and dry run").click()
    await expect(page.locator("#edit-sum")).to_contain_text("1 field is wrong")
    await conversions.fill("0")
    await page.get_by_role("button", name="Save and dry run").click()
    await expect(page.locator(".dry")).to_contain_text("Would pass")
    await expect(page.locator(".frow.is-changed", has=conversions)).to_contain_text("was n/a")
    await expect(page.locator(".diff")).to_contain_text('"spend_eur": 1.5')
    await picture(page, "letter-form-mended")
    await page.set_viewport_size(PHONE)
    assert not await overflows(page)
    await picture(page, "letter-form-phone")
    await page.set_viewport_size({"width": 1440, "height": 900})

    await page.goto(f"/dead-letters?group={GROUP}")
    await page.get_by_role("button", name="Replay…").first.click()
    dialog = page.locator("dialog:open")
    await expect(dialog).to_contain_text(f"Replay 6 letters of {GROUP}?")
    assert await find_violations(page) == []
    await picture(page, "letters-replay", full=False)
    await dialog.get_by_label("Letters per second").fill("4")
    await dialog.locator("button.primary").click()
    job = page.locator(".job")
    await expect(job).to_contain_text("Replay under way")
    await picture(page, "letters-job")
    assert await find_violations(page) == []
    await expect(job).to_contain_text("Replay done", timeout=60_000)  # without a reload
    await expect(job).to_contain_text("6 of 6")
    await expect(job).to_contain_text("6 replayed")
    await page.set_viewport_size(PHONE)
    assert not await overflows(page)
    async with engine.connect() as tx:
        states = await tx.execute(text("select distinct state from dead_letters"))
        assert [row.state for row in states] == ["replayed"]


async def test_chosen_letters_are_discarded_at_once_and_the_discard_undone(
    page: Page, admin: User, engine: AsyncEngine
) -> None:
    await put_group(engine, 3)
    await log_in(page, admin, f"/dead-letters?group={GROUP}")
    for box in (await page.get_by_role("checkbox").all())[:2]:
        await box.check()
    await page.locator(".actbar").get_by_role("button", name="Discard…").click()
    dialog = page.locator("dialog[open]")
    await expect(dialog).to_contain_text("Discard 2 chosen letters?")
    assert await find_violations(page) == []
    await dialog.get_by_role("textbox").fill("test traffic")
    await dialog.locator("button.danger").click()
    await expect(page.locator(".job")).to_contain_text("Discard done")
    await picture(page, "letters-discarded")
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator(".job").first).to_contain_text("2 open again")
