"""Statuses that are asked for at the platform: once for all hints, rarely, and never lost."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.errors import Snooze, Transient
from infra.resources import Resources
from infra.storage.campaigns import CampaignRow
from tests.handlers.platform_state import Book
from tests.handlers.samples import START, check, put, running, saved
from tests.handlers.syncing import failing, refusing, synced, tombstone


async def age(engine: AsyncEngine, seconds: float) -> None:
    """Let all questions have been asked so much earlier."""
    earlier = text(
        "update campaigns set"
        " status_asked_at = status_asked_at - make_interval(secs => :seconds),"
        " status_answered_at = status_answered_at - make_interval(secs => :seconds)"
    )
    async with engine.begin() as tx:
        await tx.execute(earlier, {"seconds": seconds})


def booked(book: Book, campaign: CampaignRow, status: Any) -> None:
    state = campaign.desired_state().model_copy(update={"status": status})
    book.campaigns[campaign.platform_campaign_id or ""] = state


async def test_a_platform_is_asked_once_for_all_hints_and_reports_as_of_the_question(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = running()
    await put(engine, campaign)
    booked(book, campaign, "paused")
    begun = now()
    events, failures = await synced(world, *(check(campaign) for _ in range(5)))
    [report] = events
    assert failures == []
    assert report.routing_key == "campaign.status_reported.v1.claude"
    assert (report.source, report.data.status) == ("urn:adrelay:sync", "paused")
    assert begun - timedelta(seconds=1) < report.data.occurred_at < now() + timedelta(seconds=1)
    assert book.questions == [campaign.platform_campaign_id]


async def test_an_answer_is_newer_than_all_that_was_known_when_it_was_asked_for(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    ahead = now() + timedelta(minutes=4)  # the platform's clock
    campaign = running(status_reported_at=ahead)
    await put(engine, campaign)
    booked(book, campaign, "paused")
    [report], _ = await synced(world, check(campaign))
    assert report.data.occurred_at == ahead


async def test_the_next_question_waits_half_a_minute_and_then_answers_what_came_meanwhile(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign = running()
    await put(engine, campaign)
    booked(book, campaign, "paused")
    await synced(world, check(campaign))
    later = check(campaign)
    events, [failure] = await synced(world, later)
    assert events == []
    assert isinstance(failure, Snooze)
    assert 25 < failure.seconds <= 30
    await age(engine, 30)
    booked(book, campaign, "active")
    [report], _ = await synced(world, later)
    assert report.data.status == "active"
    assert await synced(world, check(campaign, at=now() - timedelta(seconds=20))) == ([], [])
    assert len(book.questions) == 2


async def test_a_question_without_an_answer_settles_nothing(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    campaign, neighbour = running(), running()
    await put(engine, campaign, neighbour)
    booked(book, campaign, "paused")
    booked(book, neighbour, "paused")
    book.fault = failing(Transient("lost"), campaign)
    old = [check(campaign, at=START), check(campaign, at=START)]
    [report], failures = await synced(world, *old, check(neighbour))
    assert report.data.platform_campaign_id == neighbour.platform_campaign_id
    assert [failure.reason for failure in failures] == ["lost", "lost"]
    book.fault = failing(Transient("lost"), neighbour)
    _, failures = await synced(world, *old)
    assert [type(failure) for failure in failures] == [Snooze, Snooze]
    await age(engine, 30)
    [report], failures = await synced(world, *old)
    assert (report.data.status, failures) == ("paused", [])


async def test_hints_of_pushes_and_of_checks_go_through_in_one_batch(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    wanted = running(desired_version=2)
    asked = running()
    await put(engine, wanted, asked)
    booked(book, asked, "paused")
    events, failures = await synced(world, check(asked), saved(wanted), check(asked))
    assert failures == []
    assert {event.type for event in events} == {
        "campaign.synced.v1",
        "campaign.status_reported.v1",
    }


async def test_nobody_is_asked_about_what_is_deleted_or_unknown(
    world: Resources, engine: AsyncEngine, book: Book
) -> None:
    gone, lost = tombstone(running()), running()
    await put(engine, gone, lost)
    events, [failure] = await synced(world, check(gone), check(running()), check(lost))
    assert events == []
    assert isinstance(failure, Transient)
    assert (failure.code, failure.within) == ("UNKNOWN_CAMPAIGN", 600)
    assert book.questions == [lost.platform_campaign_id]  # which the platform has lost


@pytest.mark.parametrize("code", ["forbidden"])
async def test_a_platform_that_refuses_to_tell_makes_a_dead_letter(
    world: Resources, engine: AsyncEngine, book: Book, code: str
) -> None:
    campaign = running(id=uuid4())
    await put(engine, campaign)
    booked(book, campaign, "paused")
    book.fault = refusing(code)
    events, [failure] = await synced(world, check(campaign))
    assert (events, failure.code) == ([], code)
