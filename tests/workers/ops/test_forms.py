"""Forms from elsewhere, the read-only mode, and the theme."""

import pytest

from schemas.users import User
from tests.workers.ops.conftest import Visit, visiting
from workers.ops.csrf import REFUSED


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "ü"])
async def test_a_form_without_the_sessions_token_changes_nothing(inside: Visit, token: str) -> None:
    status, page = await inside.send("/mode", token, mode="read-only")
    assert status == 403
    assert REFUSED in page
    assert "<nav" in page, "the error is in the frame"
    assert "Read-only session" not in (await inside.get("/"))[1]


async def test_a_token_of_another_session_is_refused(
    inside: Visit, address: str, admin: User
) -> None:
    foreign = await inside.token()
    async with visiting(address) as other:
        await other.log_in(admin.email)
        assert (await other.send("/mode", foreign, mode="read-only"))[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/mode", "/login"])
async def test_a_form_of_another_origin_is_refused(
    inside: Visit, path: str, headers: dict[str, str]
) -> None:
    form = {"csrf": await inside.token(), "mode": "read-only"}
    async with inside.client.post(path, data=form, headers=headers) as response:
        assert response.status == 403


async def test_a_form_of_the_own_origin_is_taken(inside: Visit, address: str) -> None:
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": address}):
        form = {"csrf": await inside.token(), "theme": "dark", "here": "/queues"}
        async with inside.client.post(
            "/theme", data=form, headers=headers, allow_redirects=False
        ) as response:
            assert (response.status, response.headers["Location"]) == (303, "/queues")


async def test_json_is_no_form(inside: Visit) -> None:
    async with inside.client.post("/mode", json={"mode": "read-only"}) as response:
        assert response.status == 415


async def test_a_read_only_session_says_so_and_can_be_switched(inside: Visit) -> None:
    status, page = await inside.send("/mode", mode="read-only", here="/queues")
    assert status == 200
    assert "<h1>Queues" in page
    assert "Read-only session" in page
    status, page = await inside.send("/mode", mode="acting", here="/")
    assert (status, "Read-only session" in page) == (200, False)


async def test_read_only_is_chosen_at_login(visit: Visit, admin: User) -> None:
    _, page = await visit.log_in(admin.email, read_only="on")
    assert "Read-only session" in page


async def test_a_theme_is_rendered_by_the_server_and_kept(inside: Visit) -> None:
    assert "data-theme" not in (await inside.get("/"))[1]
    _, page = await inside.send("/theme", theme="dark", here="/")
    assert '<html lang="en" data-theme="dark">' in page
    assert 'value="dark" aria-pressed="true"' in page
    _, page = await inside.send("/theme", theme='"><script>', here="/")
    assert "data-theme" not in page


async def test_the_way_back_leads_to_no_other_site(inside: Visit) -> None:
    form = {"csrf": await inside.token(), "theme": "dark", "here": "//evil.example"}
    async with inside.client.post("/theme", data=form, allow_redirects=False) as response:
        assert response.headers["Location"] == "/"
