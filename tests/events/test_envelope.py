"""Ids of caused events: the same for the same cause and content, and for nothing else."""

from uuid import UUID

from events import CampaignSyncRequested, CampaignUpdateRequested
from events.campaigns import CampaignSyncRequestedData, CampaignUpdateRequestedData
from events.envelope import Event
from schemas.types import Platform

CAMPAIGN = UUID("7d0c2f64-0a7e-4d55-9c5c-5d6ac0a1f0aa")
ID_LENGTH = 32  # hexadecimal digits, as of a random id


def cause(id_: str = "e-1", source: str = "urn:test") -> Event:
    data = CampaignUpdateRequestedData(campaign_id=CAMPAIGN)
    return CampaignUpdateRequested(id=id_, source=source, data=data)


def caused(
    by: Event, *, source: str = "urn:adrelay:sync", platform: Platform = "claude", **fields: str
) -> Event:
    data = CampaignSyncRequestedData(campaign_id=CAMPAIGN, platform=platform)
    return CampaignSyncRequested.caused_by(by, source=source, data=data, **fields)


def test_a_cause_that_is_handled_again_causes_the_same_id() -> None:
    first, second = caused(cause()), caused(cause())
    assert first.id == second.id
    assert len(first.id) == ID_LENGTH
    assert first.time <= second.time


def test_another_cause_source_subject_or_content_has_another_id() -> None:
    events = [
        caused(cause()),
        caused(cause("e-2")),
        caused(cause(source="urn:other")),
        caused(cause(), source="urn:adrelay:campaigns"),
        caused(cause(), subject="one"),
        caused(cause(), subject="two"),
        caused(cause(), platform="gemini"),
    ]
    assert len({event.id for event in events}) == len(events)


def test_an_id_that_is_given_counts() -> None:
    assert caused(cause(), id="mine").id == "mine"
