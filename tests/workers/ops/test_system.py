"""System over HTTP: the topology as the relay has found it, and what the doctor finds."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.amqp.topology_check import TopologyPart
from infra.commands.doctor.checks import list_secrets
from infra.commands.doctor.finding import Finding, Level
from infra.messaging.routing_state import record_check
from infra.settings import Settings
from tests.workers.ingress.conftest import PATIENCE
from tests.workers.ops.conftest import Visit, serving_console
from workers.ops.doctor import Doctor, DoctorRun, choose_checks
from workers.ops.pages.system import arrange_findings


@pytest.fixture
async def address(settings: Settings, auth_worker: None) -> AsyncIterator[str]:  # noqa: ARG001 - it answers
    """A console as it is installed: without access to the management API."""
    alone = settings.model_copy(update={"rabbitmq_management_url": None})
    async with serving_console(alone) as address:
        yield address


async def read_findings(visit: Visit) -> str:
    """Read the page with what the doctor finds; on a busy machine a check may have had no time."""
    async with asyncio.timeout(6 * PATIENCE):
        while True:
            page = (await visit.get("/system?wait"))[1]
            if "no answer in time" not in page and "took longer" not in page:
                return page
            await asyncio.sleep(1)


async def test_the_doctor_finds_with_the_rights_of_the_console(
    inside: Visit, settings: Settings
) -> None:
    status, page = await inside.get("/system")
    assert status == 200, page
    assert 'data-fragment="/system/findings" role="status" aria-busy="true"' in page
    assert '<noscript><meta http-equiv="refresh" content="0;url=/system?wait"></noscript>' in page

    whole = await read_findings(inside)
    assert "data-fragment" not in whole
    assert "The doctor finds" in whole
    fine, unseen = whole.split("<summary>Fine: ")[1].split("<summary>Not made from here: ")
    assert "it accepts connections" in fine
    assert "the database is at the newest revision" in fine
    assert "accepts adrelay-console on vhost" in fine
    assert "<b>topology</b>" in unseen
    assert "RABBITMQ_MANAGEMENT_URL is not set" in unseen
    assert not [secret for secret in list_secrets(settings) if secret in whole]
    part = (await inside.get("/system/findings"))[1]
    assert "<nav" not in part
    assert "The doctor finds" in part


async def test_what_the_relay_has_found_of_the_topology_is_shown(
    inside: Visit, engine: AsyncEngine
) -> None:
    assert "Never compared" in (await inside.get("/system"))[1]
    async with engine.begin() as tx:
        await record_check(tx, [], now())
    page = (await inside.get("/system"))[1]
    assert "The broker has every part of the topology that events need." in page
    missing = TopologyPart("queue metrics.record", frozenset({"metrics.record"}))
    async with engine.begin() as tx:
        await record_check(tx, [missing], now())
    page = (await inside.get("/system"))[1]
    assert "Of the topology 1 part cannot be found." in page
    assert "queue metrics.record" in page
    assert "events for metrics.record wait in the outbox" in page
    assert "adrelay broker requeue-unrouted" in page


async def test_a_run_of_the_doctor_is_shared(settings: Settings) -> None:
    doctor = Doctor(settings)
    first, second = await asyncio.gather(doctor.run(), doctor.run())
    assert first is second
    assert {"topology", "postgres", "redis"} <= {one.check for one in first.findings}


def test_without_the_management_api_the_console_judges_less(settings: Settings) -> None:
    alone = settings.model_copy(update={"rabbitmq_management_url": None})
    assert {"management", "secrets"}.isdisjoint(choose_checks(alone))
    assert "management" in choose_checks(settings)


def test_findings_are_arranged_by_how_serious_they_are() -> None:
    findings = [
        Finding(Level.NOTE, "a", "to know"),
        Finding(Level.NOTE, "b", "not checked: no right", is_checked=False),
        Finding(Level.WARNING, "c", "old"),
        Finding(Level.OK, "d", "fine"),
        Finding(Level.ERROR, "e", "gone"),
        Finding(Level.WARNING, "f", "old too"),
    ]
    found = arrange_findings(DoctorRun(now(), findings))
    assert [one.check for one in found.wrong] == ["e", "c", "f", "a"]
    assert [one.check for one in found.fine] == ["d"]
    assert [one.check for one in found.unseen] == ["b"]
    assert found.lede == (
        "The doctor finds 1 error, 2 warnings, 1 note; fine: 1 finding;"
        " not made from here: 1 check."
    )
    unknown = arrange_findings(DoctorRun(now(), trouble="the checks took longer than 10 s"))
    assert unknown.lede.startswith("What the doctor finds is not known")
