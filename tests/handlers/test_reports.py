from dataclasses import replace

import pytest

from handlers.reports import bumped, overtaken, pushed, status_reported
from tests.handlers.samples import START, after, refused, running, status, stored, synced


def test_a_newer_push_moves_the_synced_version_and_time() -> None:
    campaign = running(version=5, wanted_version=4, synced_version=1)
    noted = pushed(campaign, synced(campaign, at=after(5), status="paused"))
    assert noted == replace(
        campaign,
        synced_version=4,
        synced_at=after(5),
        status="paused",
        status_reported_at=after(5),
    )


def test_an_older_push_changes_nothing_and_counts_as_overtaken() -> None:
    campaign = running(wanted_version=4, synced_version=4)
    old = synced(campaign, version=3, at=after(9))
    assert pushed(campaign, old) is campaign
    assert overtaken(campaign, old)
    assert not overtaken(campaign, synced(campaign))
    assert not overtaken(campaign, refused(campaign, version=3))


def test_a_push_repeated_later_tells_the_time_of_the_later_one() -> None:
    campaign = running(synced_at=after(5))
    assert pushed(campaign, synced(campaign, at=after(9))).synced_at == after(9)
    assert pushed(campaign, synced(campaign, at=after(1))).synced_at == after(5)


def test_only_a_refusal_of_the_current_wish_rejects() -> None:
    campaign = running(wanted_version=3)
    assert pushed(campaign, refused(campaign, version=2, at=after(1))) is campaign
    assert pushed(campaign, refused(campaign, at=after(1))).status == "rejected"


@pytest.mark.parametrize(
    ("told", "seconds", "status_after"),
    [
        ("paused", 1, "paused"),
        ("paused", -1, "active"),
        ("paused", 0, "paused"),
        ("completed", 0, "completed"),
        ("active", 0, "active"),
    ],
)
def test_a_report_counts_if_it_is_newer_or_nearer_to_the_end(
    told: str, seconds: float, status_after: str
) -> None:
    campaign = running()
    assert status_reported(campaign, status(campaign, told, after(seconds))).status == status_after


def test_a_deleted_campaign_takes_no_status_but_its_platform_id() -> None:
    gone = stored(status="deleted", deleted_at=START, wanted_version=2, version=2)
    noted = pushed(gone, synced(gone, version=1, platform_campaign_id="p-1", at=after(1)))
    assert (noted.status, noted.platform_campaign_id) == ("deleted", "p-1")


def test_only_what_the_api_shows_makes_a_version() -> None:
    campaign = running(version=7)
    hidden = replace(campaign, status_reported_at=after(1))
    shown = replace(campaign, status="paused")
    assert bumped(campaign, hidden, after(9)) == hidden
    assert bumped(campaign, shown, after(9)) == replace(shown, version=8, updated_at=after(9))
