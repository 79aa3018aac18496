"""Consents as every platform handles them, tried against the real sandbox."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from yarl import URL

from infra.http.client import HttpFailure
from infra.platforms import PLATFORMS
from infra.platforms.oauth import (
    OAuthClient,
    OAuthError,
    build_authorize_url,
    build_redirect_uri,
    derive_code_challenge,
    open_oauth_clients,
)
from schemas.types import Platform
from tests.sandbox import Playground, open_playground

VERIFIER = "v" * 43


@pytest.fixture(params=list(PLATFORMS))
def name(request: pytest.FixtureRequest) -> Platform:
    found: Platform = request.param
    return found


@pytest.fixture
async def sandbox() -> AsyncIterator[Playground]:
    async with open_playground() as playground:
        yield playground


@pytest.fixture
async def grants(sandbox: Playground, name: Platform) -> AsyncIterator[OAuthClient]:
    async with open_oauth_clients(sandbox.settings, PLATFORMS) as all_grants:
        yield all_grants[name]


def place(sandbox: Playground, name: Platform) -> URL:
    url = build_authorize_url(
        sandbox.settings, name, PLATFORMS[name], state="the state", verifier=VERIFIER
    )
    return URL(url, encoded=True)


async def consented(sandbox: Playground, name: Platform, **changes: str) -> dict[str, Any]:
    """Say yes; gives what the platform sends back."""
    form = {**place(sandbox, name).query, "decision": "allow", **changes}
    asked = place(sandbox, name).with_query(None)
    async with sandbox.session.post(asked, data=form, allow_redirects=False) as answer:
        assert answer.status == 303, await answer.text()
        back = answer.headers["Location"]
    assert back.startswith(build_redirect_uri(sandbox.settings, name) + "?")
    return {key: value[0] for key, value in parse_qs(urlsplit(back).query).items()}


async def exchanged(
    sandbox: Playground, grants: OAuthClient, name: Platform, verifier: str = VERIFIER
) -> Any:
    back = await consented(sandbox, name)
    assert back.keys() == {"code", "state", "iss"}
    assert (back["state"], back["iss"]) == ("the state", sandbox.settings.platform(name).url)
    return await grants.exchange(back["code"], verifier, build_redirect_uri(sandbox.settings, name))


def test_a_challenge_is_the_one_of_the_rfc() -> None:
    """RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert derive_code_challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_an_authorize_address_of_its_own_may_have_a_query(
    sandbox: Playground, name: Platform
) -> None:
    changes = {f"{name}_authorize_url": "https://login.example/o?tenant=1"}
    settings = sandbox.settings.model_copy(update=changes)
    url = build_authorize_url(settings, name, PLATFORMS[name], state="s", verifier=VERIFIER)
    assert url.startswith("https://login.example/o?tenant=1&response_type=code&")


async def test_a_code_yields_tokens_that_are_renewed_and_revoked(
    sandbox: Playground, grants: OAuthClient, name: Platform
) -> None:
    grant = await exchanged(sandbox, grants, name)
    consents = sandbox.app.states[name].consents
    access, refresh = (t.get_secret_value() for t in (grant.access_token, grant.refresh_token))
    assert grant.expires_in == 3600
    assert consents.owner_of(access) == "owner-1"
    fresh = await grants.refresh(refresh)
    assert fresh.refresh_token is not None
    assert fresh.refresh_token.get_secret_value() != refresh
    for _ in range(2):  # what is revoked already is revoked
        await grants.revoke(fresh.refresh_token.get_secret_value())
    assert consents.owner_of(fresh.access_token.get_secret_value()) is None
    await grants.revoke("never issued")
    with pytest.raises(OAuthError) as refused:
        await grants.refresh(fresh.refresh_token.get_secret_value())
    assert refused.value.is_invalid_grant


async def test_a_code_without_its_verifier_yields_nothing(
    sandbox: Playground, grants: OAuthClient, name: Platform
) -> None:
    with pytest.raises(OAuthError) as refused:
        await exchanged(sandbox, grants, name, verifier="w" * 43)
    assert refused.value.is_invalid_grant


async def test_a_code_that_is_shown_twice_ends_what_came_of_it(
    sandbox: Playground, grants: OAuthClient, name: Platform
) -> None:
    code = (await consented(sandbox, name))["code"]
    back = build_redirect_uri(sandbox.settings, name)
    grant = await grants.exchange(code, VERIFIER, back)
    with pytest.raises(OAuthError):
        await grants.exchange(code, VERIFIER, back)
    access = grant.access_token.get_secret_value()
    assert sandbox.app.states[name].consents.owner_of(access) is None


async def test_a_code_ends_after_a_minute_and_belongs_to_one_address(
    sandbox: Playground, grants: OAuthClient, name: Platform
) -> None:
    consents = sandbox.app.states[name].consents
    late = (await consented(sandbox, name))["code"]
    consents.codes[late].until -= 60
    with pytest.raises(OAuthError):
        await grants.exchange(late, VERIFIER, build_redirect_uri(sandbox.settings, name))
    code = (await consented(sandbox, name))["code"]
    with pytest.raises(OAuthError):
        await grants.exchange(code, VERIFIER, "http://127.0.0.1:8080/elsewhere")


async def test_a_spent_refresh_token_ends_the_consent(
    sandbox: Playground, grants: OAuthClient, name: Platform
) -> None:
    first = await exchanged(sandbox, grants, name)
    second = await grants.refresh(first.refresh_token.get_secret_value())
    with pytest.raises(OAuthError):
        await grants.refresh(first.refresh_token.get_secret_value())
    assert second.refresh_token is not None
    with pytest.raises(OAuthError):
        await grants.refresh(second.refresh_token.get_secret_value())


async def test_a_platform_in_trouble_does_not_end_a_consent(
    sandbox: Playground, grants: OAuthClient, name: Platform
) -> None:
    grant = await exchanged(sandbox, grants, name)
    refresh = grant.refresh_token.get_secret_value()
    await sandbox.faults(name, outage=True)
    for asked in (grants.refresh(refresh), grants.revoke(refresh)):
        with pytest.raises(HttpFailure):
            await asked
    await sandbox.faults(name, refuse_credentials=True)
    with pytest.raises(OAuthError) as refused:
        await grants.refresh(refresh)
    assert (refused.value.code, refused.value.is_invalid_grant) == ("invalid_client", False)


@pytest.mark.parametrize("change", [{"client_id": "x"}, {"redirect_uri": "https://evil.example"}])
async def test_a_stranger_is_not_sent_back_anywhere(
    sandbox: Playground, name: Platform, change: dict[str, str]
) -> None:
    asked = place(sandbox, name).update_query(change)
    async with sandbox.session.get(asked, allow_redirects=False) as answer:
        assert answer.status == 400
        assert "Location" not in answer.headers


async def test_a_request_without_pkce_is_sent_back(sandbox: Playground, name: Platform) -> None:
    for change in ({"code_challenge": ""}, {"code_challenge_method": "plain"}):
        asked = place(sandbox, name).update_query(change)
        async with sandbox.session.get(asked, allow_redirects=False) as answer:
            assert "error=invalid_request" in answer.headers["Location"]


async def test_consents_outlive_a_restart_of_the_sandbox(
    sandbox: Playground, grants: OAuthClient, name: Platform
) -> None:
    grant = await exchanged(sandbox, grants, name)
    book = sandbox.app.states[name]
    dumped = book.dump()
    book.consents = type(book.consents)()
    book.load(dumped)
    assert await grants.refresh(grant.refresh_token.get_secret_value())
