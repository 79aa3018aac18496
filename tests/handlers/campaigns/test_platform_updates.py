from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from handlers.campaigns.platform_updates import (
    apply_status,
    apply_sync_result,
    bump_version,
    is_ambiguous,
    is_stale_push,
)
from tests.handlers.samples import START, after, rejected, running, status, stored, synced


def test_a_newer_push_moves_the_synced_version_and_time() -> None:
    campaign = running(version=5, desired_version=4, synced_version=1)
    noted = apply_sync_result(campaign, synced(campaign, at=after(5), status="paused"))
    assert noted == replace(
        campaign,
        synced_version=4,
        synced_at=after(5),
        status="paused",
        status_reported_at=after(5),
    )


def test_an_older_push_changes_nothing_and_is_stale() -> None:
    campaign = running(desired_version=4, synced_version=4)
    old = synced(campaign, version=3, at=after(9))
    assert apply_sync_result(campaign, old) is campaign
    assert is_stale_push(campaign, old)
    assert not is_stale_push(campaign, synced(campaign))
    assert not is_stale_push(campaign, rejected(campaign, version=3))


def test_a_push_repeated_later_sets_the_time_of_the_later_one() -> None:
    campaign = running(synced_at=after(5))
    assert apply_sync_result(campaign, synced(campaign, at=after(9))).synced_at == after(9)
    assert apply_sync_result(campaign, synced(campaign, at=after(1))).synced_at == after(5)


def test_only_a_rejection_of_the_current_version_rejects_the_campaign() -> None:
    campaign = running(desired_version=3)
    assert apply_sync_result(campaign, rejected(campaign, version=2, at=after(1))) is campaign
    assert apply_sync_result(campaign, rejected(campaign, at=after(1))).status == "rejected"


@pytest.mark.parametrize(
    ("reported", "seconds", "status_after"),
    [
        ("paused", 1, "paused"),
        ("paused", 0.5, "paused"),
        ("paused", -1, "active"),
        ("paused", 0, "active"),
        ("completed", 0, "active"),
        ("active", 0, "active"),
    ],
)
def test_a_report_is_applied_if_it_is_newer(
    reported: str, seconds: float, status_after: str
) -> None:
    campaign = running()
    assert apply_status(campaign, status(campaign, reported, after(seconds))).status == status_after


WHOLE = START.replace(microsecond=0)


@pytest.mark.parametrize(
    ("known", "reported", "at", "lacks"),
    [
        (START, "paused", START, True),
        (START, "active", START, False),
        (START, "paused", after(0.4), False),  # both are exact
        (START, "paused", WHOLE, True),  # it was in this second, before or after
        (WHOLE, "paused", after(0.4), True),
        (WHOLE, "paused", WHOLE - timedelta(seconds=1), False),
        (WHOLE, "paused", WHOLE + timedelta(seconds=1), False),
    ],
)
def test_two_statuses_at_one_time_are_ambiguous(
    known: datetime, reported: str, at: datetime, *, lacks: bool
) -> None:
    campaign = running(status_reported_at=known)
    report = status(campaign, reported, at)
    assert is_ambiguous(campaign, report) is lacks
    if lacks:
        assert apply_status(campaign, report) is campaign


def test_the_answer_of_a_status_check_overrides_what_it_was_asked_about() -> None:
    campaign = running(status_reported_at=WHOLE)
    answer = status(campaign, "paused", WHOLE).model_copy(update={"source": "urn:adrelay:sync"})
    assert not is_ambiguous(campaign, answer)
    assert apply_status(campaign, answer).status == "paused"


def test_a_deleted_campaign_is_not_asked_about() -> None:
    gone = running(status="deleted", deleted_at=START)
    assert not is_ambiguous(gone, status(gone, "paused", START))


def test_a_deleted_campaign_takes_no_status_but_its_platform_id() -> None:
    gone = stored(status="deleted", deleted_at=START, desired_version=2, version=2)
    noted = apply_sync_result(
        gone, synced(gone, version=1, platform_campaign_id="p-1", at=after(1))
    )
    assert (noted.status, noted.platform_campaign_id) == ("deleted", "p-1")


def test_only_a_change_that_the_api_returns_makes_a_version() -> None:
    campaign = running(version=7)
    hidden = replace(campaign, status_reported_at=after(1))
    displayed = replace(campaign, status="paused")
    assert bump_version(campaign, hidden, after(9)) == hidden
    assert bump_version(campaign, displayed, after(9)) == replace(
        displayed, version=8, updated_at=after(9)
    )
