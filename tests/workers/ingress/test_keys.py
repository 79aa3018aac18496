"""The ingress does not start on keys that everybody knows, or on none."""

import pytest

from infra.settings import Settings
from workers.ingress.app import require_keys


@pytest.mark.parametrize(
    ("field", "empty"),
    [("operation_key", None), ("seal_public_key", None), ("token_verify_keys", "")],
)
def test_a_missing_key_is_named(settings: Settings, field: str, empty: str | None) -> None:
    require_keys(settings)
    values = settings.model_dump()
    without = Settings.model_validate(
        {**values, "token_verify_keys": " ".join(values["token_verify_keys"]), field: empty}
    )
    with pytest.raises(ValueError, match=f"{field.upper()} is not set"):
        require_keys(without)
