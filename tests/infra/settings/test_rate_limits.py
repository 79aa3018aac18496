"""Rate limits as settings: what may be written, what is the default, what switches one off."""

import pytest
from pydantic import ValidationError

from infra.ratelimit.policies import UNITS, load_policies, setting_name
from infra.settings import Settings
from infra.settings.rate_limits import RateLimitSettings

DEFAULTS = {
    "api": (1000, 900),
    "registration": (20, 3600),
    "login": (5, 900),
    "login-address": (50, 900),
    "refresh": (100, 900),
    "password": (5, 900),
    "webhook-requests": (5000, 1),
    "webhook-bytes": (50_000_000, 1),
    "event-requests": (5000, 1),
    "event-bytes": (50_000_000, 1),
}


def test_the_defaults_are_these() -> None:
    found = load_policies(Settings())
    assert {name: (p.amount, p.seconds) for name, p in found.items()} == DEFAULTS


def test_every_setting_is_a_policy() -> None:
    assert {setting_name(name) for name in UNITS} == set(RateLimitSettings.model_fields)


@pytest.mark.parametrize(
    ("text", "amount", "seconds"),
    [
        ("1/second", 1, 1),
        ("20/hour", 20, 3600),
        ("1000/15 minutes", 1000, 900),
        ("7/2 days", 7, 172_800),
        ("7/1 day", 7, 86_400),
    ],
)
def test_a_rate_is_an_amount_in_a_time(text: str, amount: int, seconds: int) -> None:
    policy = load_policies(Settings.model_validate({"limit_api": text}))["api"]
    assert (policy.amount, policy.seconds) == (amount, seconds)


def test_an_empty_rate_is_no_limit() -> None:
    found = load_policies(Settings.model_validate({"limit_login": ""}))
    assert "login" not in found
    assert found.keys() == DEFAULTS.keys() - {"login"}


@pytest.mark.parametrize(
    "text", ["0/second", "5", "5/", "/hour", "-1/hour", "5/0 minutes", "5/week", "5/hour;1/second"]
)
def test_what_is_no_rate_is_refused_by_the_name_of_its_setting(text: str) -> None:
    with pytest.raises(ValidationError, match=r"limit_api\n.*1000/15 minutes"):
        Settings.model_validate({"limit_api": text})
