"""Settings are listed with value, source, unit and meaning, and without a secret."""

import pytest
from pydantic import SecretStr

from infra.settings import GROUPS, Settings
from infra.settings.listing import (
    HIDDEN_URL,
    TITLES,
    ListedSetting,
    describe_value,
    is_secret,
    list_settings,
)

HIDDEN = "hunter2hunter2hunter2"


def find(settings: Settings, name: str, **variables: str) -> ListedSetting:
    groups = list_settings(settings, variables)
    return next(one for group in groups for one in group.settings if one.name == name)


def test_every_group_has_a_title_and_every_setting_is_listed_once() -> None:
    assert tuple(TITLES) == GROUPS
    listed = [one.name for group in list_settings(Settings(), {}) for one in group.settings]
    assert sorted(listed) == sorted(name.upper() for name in Settings.model_fields)


def test_a_value_is_listed_with_where_it_comes_from() -> None:
    settings = Settings(platform_timeout=3, inbox_days=40)
    found = find(settings, "PLATFORM_TIMEOUT", PLATFORM_TIMEOUT="3")
    assert (found.value, found.unit, found.source) == ("3", "seconds", "environment")
    assert found.default == "10"
    found = find(settings, "INBOX_DAYS")
    assert (found.value, found.unit, found.source) == ("40", "days", "file")
    found = find(settings, "AUDIT_DAYS", AUDIT="400")
    assert (found.value, found.source, found.meaning) == (
        "400",
        "default",
        "The audit log is kept for so long",
    )
    assert find(settings, "LIMIT_EVENT_BYTES").unit == ""
    assert find(settings, "MAX_BODY_BYTES").unit == "bytes"


def test_no_secret_is_listed_whatever_it_is() -> None:
    secrets = {
        name: SecretStr(f"{HIDDEN}{place}")
        for place, (name, field) in enumerate(Settings.model_fields.items())
        if is_secret(field.annotation)
    }
    assert {"database_url", "vault_keys", "operation_key", "adrelay_api_key"} <= set(secrets)
    settings = Settings.model_construct(_fields_set=set(secrets), **{**dict(Settings()), **secrets})
    listed = list_settings(settings, {})
    assert HIDDEN not in repr(listed)
    found = [one for group in listed for one in group.settings if one.is_secret]
    assert len(found) == len(secrets)
    assert all(one.is_set and not one.default for one in found)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://ads.example/v1", "https://ads.example/v1"),
        (f"https://me:{HIDDEN}@ads.example/v1", HIDDEN_URL),
        (f"https://{HIDDEN}@ads.example/v1", HIDDEN_URL),
        (f"https://ads.example/v1?key={HIDDEN}", HIDDEN_URL),
        (f"https://ads.example/v1#{HIDDEN}", HIDDEN_URL),
        (f"https://[{HIDDEN}", HIDDEN_URL),
        (None, ""),
        ((), ""),
        (0.25, "0.25"),
        (10.0, "10"),
        (10 * 1024**3, "10737418240"),
    ],
    ids=str,
)
def test_a_url_with_a_password_or_parameters_is_not_shown(value: object, shown: str) -> None:
    assert describe_value(value) == shown
