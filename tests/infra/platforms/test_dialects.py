"""What only one platform says."""

from uuid import uuid4

import pytest

from events.campaigns import CampaignSavedData
from infra.platforms import PLATFORMS, Rejected
from schemas.campaigns import Targeting
from schemas.types import Platform


def campaign(budget_micros: int) -> CampaignSavedData:
    targeting = Targeting(interests=("ski",), age_range=(18, 65))
    return CampaignSavedData(
        campaign_id=uuid4(),
        version=1,
        platform="chatgpt",
        name="Winter",
        budget_micros=budget_micros,
        currency="USD",
        targeting=targeting,
        status="active",
    )


@pytest.mark.parametrize(
    ("name", "budget_micros", "written"),
    [
        ("claude", 10_500_000, b'"budget":10.5'),
        ("claude", 999_999_999_999_999, b'"budget":999999999.999999'),
        ("chatgpt", 10_500_000, b'"budget_cents":1050'),
        ("gemini", 10_500_001, b'"budgetMicros":"10500001"'),
    ],
)
def test_money_is_exact_in_every_unit(name: Platform, budget_micros: int, written: bytes) -> None:
    assert written in PLATFORMS[name].create_request(campaign(budget_micros), "key").body


def test_a_budget_that_has_no_cents_is_refused_and_not_rounded() -> None:
    for change in (PLATFORMS["chatgpt"].create_request, _update):
        with pytest.raises(Rejected, match="whole hundredths"):
            change(campaign(10_500_001), "key")


def _update(wanted: CampaignSavedData, key: str) -> object:
    return PLATFORMS["chatgpt"].update_request("cmp_1", wanted, key)


@pytest.mark.parametrize("name", PLATFORMS)
def test_an_id_cannot_leave_its_place_in_the_path(name: Platform) -> None:
    path = PLATFORMS[name].delete_request("../x?y#z/w", "key&a=b").path
    assert "..%2Fx%3Fy%23z%2Fw" in path
    assert "&a=b" not in path


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"id": "../x"}', b"\xff"])
def test_an_answer_that_makes_no_sense_is_an_error(name: Platform, body: bytes) -> None:
    for read in (PLATFORMS[name].parse_campaign, PLATFORMS[name].parse_error):
        with pytest.raises(ValueError, match="validation error"):
            read(body)
