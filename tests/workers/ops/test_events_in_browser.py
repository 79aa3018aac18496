"""The pages of events, operations and the audit log in headless Chromium."""

import re
from uuid import uuid4

import pytest
from aio_pika.abc import AbstractConnection
from playwright.async_api import Browser, Page, expect
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.resources import Resources
from infra.security.operation_id import create_operation_id
from infra.settings import Settings
from infra.storage.operations import put_operations
from schemas.operations import Operation, OperationError
from schemas.users import User
from tests.infra.commands.test_dead_letters import filing_dead_letters
from tests.infra.indexing import find_outcome, indexed, indexing
from tests.infra.ledger import consuming, create, publish, report
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
from tests.workers.ops.test_audit import write_entries
from tests.workers.ops.test_event import HOSTILE, cause_one, path_of, refuse

__all__ = ["chromium", "page"]

LETTER = re.compile(r"/dead-letters/[0-9a-f-]{36}$")
SUBJECT = "0d3a4f6e-8a0b-5c77-9d51-3f2b8a1c7e90"


@pytest.fixture
async def handled(resources: Resources, broker: AbstractConnection, engine: AsyncEngine) -> str:
    """A handled event, a dead letter of the same subject, operations and audit entries."""
    await create(engine)
    event, poisoned = (report(n, id=uuid4().hex, subject=SUBJECT) for n in (1, 2))
    async with indexing(resources):
        async with consuming(resources, cause_one):
            await publish(broker, event)
            await find_outcome(engine, event.id, lambda one: one.state == "handled")
        async with consuming(resources, refuse), filing_dead_letters(resources):
            await publish(broker, poisoned)
            await find_outcome(engine, poisoned.id, lambda one: one.state == "dead")
        await indexed(engine, SUBJECT, 2)
    return event.id


@pytest.fixture
async def paths(handled: str, settings: Settings, admin: User, engine: AsyncEngine) -> list[str]:
    """Pages with something on each."""
    assert settings.operation_key is not None
    key = settings.operation_key.get_secret_value().encode()
    error = OperationError(code="NOT_FOUND", message=HOSTILE)
    operations = [
        Operation(id=create_operation_id(key, admin.id), state="done", result={}),
        Operation(id=create_operation_id(key, admin.id), state="refused", error=error),
    ]
    async with engine.begin() as tx:
        await put_operations(tx, operations)
    await write_entries(
        engine, {"actor": admin.id, "subject": "metrics.record", "device": HOSTILE * 3}
    )
    return [
        f"/events?q={SUBJECT}",
        path_of(handled),
        path_of(handled, view="properties"),
        "/events/absent",
        "/operations",
        "/audit",
    ]


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_fit_every_width_and_are_accessible(
    chromium: Browser, address: str, admin: User, paths: list[str], scheme: ColorScheme
) -> None:
    for width in WIDTHS:
        async with open_page(chromium, address, width=width, scheme=scheme) as page:
            await log_in(page, admin)
            for number, path in enumerate(paths):
                await page.goto(path)
                await picture(page, f"events-{number}-{width}-{scheme}")
                assert not await overflows(page), path
                if width != WIDTHS[1]:
                    assert await find_violations(page) == [], path


async def test_a_dead_event_is_found_among_others_and_understood(
    page: Page, admin: User, handled: str
) -> None:
    assert handled
    await log_in(page, admin)
    await page.fill("#q", SUBJECT)
    await page.keyboard.press("Enter")
    row = page.get_by_role("row").filter(has_text="dead letter")
    await row.get_by_role("link").first.click()
    await expect(page.get_by_role("status")).to_contain_text("metrics.record has given it up")
    await expect(page.locator(".tl")).to_contain_text("Given up by")
    await page.get_by_role("link", name="Bytes").click()
    await expect(page.get_by_label("Body as bytes")).to_contain_text("0000  7b")
    await page.get_by_role("link", name="Open dead letter").click()
    await expect(page).to_have_url(LETTER)


async def test_pages_are_whole_without_javascript(
    chromium: Browser, address: str, admin: User, handled: str
) -> None:
    async with open_page(chromium, address, javascript=False) as page:
        await log_in(page, admin)
        await page.goto("/events")
        await page.fill("#e-q", handled)
        await page.get_by_role("button", name="Find", exact=True).last.click()
        await page.get_by_role("row").nth(1).get_by_role("link").click()
        await expect(page.locator(".src")).to_contain_text("impressions")
