"""Settings over HTTP: values with their source, and no secret."""

import pytest

from infra.commands.doctor.checks import list_secrets
from infra.settings import Settings
from tests.workers.ops.conftest import Visit


async def test_settings_are_shown_with_value_source_and_meaning(
    inside: Visit, settings: Settings
) -> None:
    status, page = await inside.get("/settings")
    assert status == 200
    assert page.count('<tr role="row" id="') == len(Settings.model_fields)
    row = page.split('id="INBOX_DAYS"')[1].split("</tr>")[0]
    assert ">30<" in row
    assert "days" in row
    assert "default" in row
    assert "How long a handled event id is known" in row
    row = page.split('id="DATABASE_URL"')[1].split("</tr>")[0]
    assert "secret, set" in row
    assert "secret, not set" in page.split('id="VAULT_KEYS"')[1].split("</tr>")[0] or (
        settings.vault_keys is not None
    )
    assert not [secret for secret in list_secrets(settings) if secret in page]


async def test_settings_at_their_default_can_be_left_out(inside: Visit) -> None:
    page = (await inside.get("/settings?show=changed"))[1]
    assert 'id="ARGON2_TIME"' in page, "the tests set it"
    assert 'id="INBOX_DAYS"' not in page


@pytest.mark.parametrize("path", ["/settings", "/system", "/system/findings"])
async def test_who_is_not_logged_in_sees_nothing_of_it(visit: Visit, path: str) -> None:
    status, page = await visit.get(path)
    assert status == 401
    assert "Log in to the console" in page
    assert "ARGON2_TIME" not in page
