from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from events import CampaignCreateRequested
from events.campaigns import get_campaign_id
from handlers.campaigns.commands import ID_TAKEN, apply_command, parse_owner
from infra.storage.campaigns import CampaignRow
from schemas.operations import CAMPAIGN_NOT_FOUND, OperationError
from tests.handlers.samples import OWNER, STRANGER, after, create, delete, running, stored, update

NOW = after(60)


def changed(campaign: CampaignRow, **fields: Any) -> CampaignRow:
    verdict = apply_command(update(campaign.id, **fields), campaign, OWNER, NOW, NOW)
    assert isinstance(verdict, CampaignRow)
    return verdict


def test_a_change_of_the_desired_state_moves_both_versions_and_the_time() -> None:
    campaign = running(version=4, desired_version=2, synced_version=2)
    renewed = changed(campaign, budget="7")
    assert renewed == replace(
        campaign, budget_micros=7_000_000, version=5, desired_version=5, updated_at=NOW
    )


@pytest.mark.parametrize(
    ("actual", "synced_version", "asked", "wanted"),
    [
        ("paused", 1, {"status": "active"}, "active"),  # started again after a pause over there
        ("paused", 1, {"name": "N"}, "paused"),  # a new name does not start it
        ("paused", 0, {"name": "N"}, "active"),  # our own version is not synced yet
        ("active", 1, {"name": "N"}, "active"),
        ("completed", 1, {"name": "N"}, "active"),
        ("active", 1, {"name": "N", "status": "paused"}, "paused"),
    ],
)
def test_a_pause_at_the_platform_lasts_until_the_owner_starts_the_campaign(
    actual: str, synced_version: int, asked: dict[str, object], wanted: str
) -> None:
    campaign = running(status=actual, synced_version=synced_version)
    renewed = changed(campaign, **asked)
    assert renewed.desired_status == wanted
    assert renewed.desired_version > campaign.desired_version


def test_asking_for_the_present_status_changes_nothing() -> None:
    campaign = running(status="paused", desired_status="active")
    assert changed(campaign, status="paused") is campaign


@pytest.mark.parametrize("owner", [OWNER, None])
def test_the_owner_and_an_admin_may_delete(owner: UUID | None) -> None:
    campaign = running()
    verdict = apply_command(delete(campaign.id), campaign, owner, NOW, NOW)
    assert isinstance(verdict, CampaignRow)
    assert (verdict.status, verdict.deleted_at, verdict.version) == ("deleted", NOW, 3)


@pytest.mark.parametrize(
    "campaign", [None, running(owner_id=STRANGER), running(owner_id=None), running(deleted_at=NOW)]
)
def test_a_campaign_that_the_sender_may_not_see_is_not_found(campaign: CampaignRow | None) -> None:
    assert apply_command(update(uuid4(), name="N"), campaign, OWNER, NOW, NOW) == CAMPAIGN_NOT_FOUND
    assert apply_command(delete(uuid4()), campaign, OWNER, NOW, NOW) == CAMPAIGN_NOT_FOUND


def test_a_stale_version_is_a_conflict_that_names_the_present_version() -> None:
    campaign = running(version=4)
    verdict = apply_command(
        update(campaign.id, name="N", expected_version=3), campaign, OWNER, NOW, NOW
    )
    assert verdict == OperationError(
        code="VERSION_CONFLICT", message="the campaign is at version 4, not 3"
    )


def test_a_repeated_creation_is_accepted_only_if_it_asks_for_the_same_campaign() -> None:
    command = create(uuid4())
    campaign = stored(id=get_campaign_id(command))
    assert apply_command(command, campaign, OWNER, NOW, NOW) is campaign
    assert apply_command(command, replace(campaign, currency="EUR"), OWNER, NOW, NOW) == ID_TAKEN
    assert apply_command(command, campaign, STRANGER, NOW, NOW) == ID_TAKEN


def test_a_campaign_id_follows_from_source_and_id_and_both_matter() -> None:
    ids = {get_campaign_id(create(source=s, id=i)) for s in ("urn:a", "urn:b") for i in ("1", "2")}
    assert len(ids) == 4


def test_an_owner_that_is_no_uuid_is_an_error() -> None:
    command = create(uuid4()).model_copy(update={"ownerid": "x"})
    with pytest.raises(ValueError, match="UUID"):
        parse_owner(command)
    assert parse_owner(create(owner=None)) is None


def test_a_delayed_deletion_does_not_delete_a_campaign_that_was_created_since() -> None:
    campaign = running(created_at=after(30))
    assert apply_command(delete(campaign.id), campaign, OWNER, NOW, after(29)) == CAMPAIGN_NOT_FOUND
    verdict = apply_command(delete(campaign.id), campaign, OWNER, NOW, after(31))
    assert isinstance(verdict, CampaignRow)
    assert verdict.deleted_at == NOW


def test_a_creation_after_the_deletion_creates_the_campaign_again() -> None:
    gone = running(status="deleted", deleted_at=after(30), version=5, desired_version=5)
    verdict = apply_command(create(gone.id, currency="EUR"), gone, OWNER, NOW, NOW)
    assert isinstance(verdict, CampaignRow)
    assert (verdict.status, verdict.deleted_at, verdict.currency) == ("pending", None, "EUR")
    assert (verdict.version, verdict.desired_version, verdict.synced_version) == (6, 6, 1)
    assert verdict.platform_campaign_id == gone.platform_campaign_id


@pytest.mark.parametrize(
    ("command", "arrived"),
    [
        (create(uuid4()), after(29)),  # it came before the deletion and was put off
        (create(uuid4(), owner=STRANGER), NOW),
        (create(uuid4(), platform="gemini"), NOW),
    ],
)
def test_a_deleted_campaign_is_created_again_only_later_by_its_owner_on_its_platform(
    command: CampaignCreateRequested, arrived: datetime
) -> None:
    gone = running(status="deleted", deleted_at=after(30))
    assert apply_command(
        command, gone, OWNER if command.ownerid == str(OWNER) else STRANGER, NOW, arrived
    ) == (ID_TAKEN)
