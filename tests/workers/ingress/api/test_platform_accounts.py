"""Accounts at platforms over HTTP: the ingress, the auth worker and the sandbox, all real."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from infra.platforms import PLATFORMS
from infra.settings import Settings
from tests.consent import JSON, PLATFORM, Owner, Stage, open_stage
from tests.infra.ledger import until
from tests.workers.ingress.conftest import (
    MakeKey,
    MakePerson,
    Person,
    body_of,
    error_of,
    serving,
)

HTML = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
async def stage(settings: Settings) -> AsyncIterator[Stage]:
    async with open_stage(settings) as stage:
        yield stage


@pytest.fixture
async def browser(stage: Stage) -> AsyncIterator[aiohttp.ClientSession]:
    async with stage.browser() as browser:
        yield browser


@pytest.fixture
async def owner(stage: Stage, browser: aiohttp.ClientSession) -> Owner:
    return await stage.register(browser)


@pytest.fixture(params=list(PLATFORMS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_an_owner_connects_an_account_and_sees_it_without_its_tokens(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner, name: str
) -> None:
    connected = await stage.connect(browser, owner, name)
    scopes = list(PLATFORMS[name].SCOPES)  # type: ignore[index]
    assert connected == {"platform": name, "state": "connected", "scopes": scopes}
    [account] = await stage.accounts(browser, owner)
    shown = {"platform", "state", "scopes", "connected_at", "expires_at", "reason"}
    assert account.keys() == shown
    assert (account["state"], account["scopes"], account["reason"]) == ("connected", scopes, None)
    assert account["expires_at"] > account["connected_at"]
    [consent] = await stage.sandbox.control("GET", f"/{name}/consents")
    assert consent["scopes"] == scopes


async def test_the_redirect_says_all_that_the_platform_has_to_know(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner, name: str
) -> None:
    response = await browser.get(
        f"{PLATFORM}/{name}/connect", headers=owner.headers, allow_redirects=False
    )
    assert response.status == 302
    place = URL(response.headers["Location"], encoded=True)
    assert str(place.with_query(None)).startswith(stage.sandbox.url + f"/{name}/")
    assert place.query["response_type"] == "code"
    assert place.query["client_id"] == "adrelay"
    assert place.query["redirect_uri"] == f"{stage.settings.public_url}{PLATFORM}/{name}/callback"
    assert place.query["code_challenge_method"] == "S256"
    assert len(place.query["code_challenge"]) == len(place.query["state"]) == 43
    cookie = response.headers["Set-Cookie"]
    assert f"Path={PLATFORM}/{name}/callback" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Max-Age=600" in cookie
    assert "Secure" not in cookie  # http, in this test


async def test_the_cookie_of_a_secure_address_is_secure_and_goes_below_it(
    settings: Settings, manager: Person
) -> None:
    secure = settings.model_copy(update={"public_url": "https://ads.example/adrelay/"})
    async with serving(secure) as client:
        response = await client.get(f"{PLATFORM}/claude/connect", headers=manager.headers | JSON)
    place = URL((await body_of(response, 200))["data"]["authorize_url"], encoded=True)
    back = "https://ads.example/adrelay/api/v1/platforms/claude/callback"
    assert place.query["redirect_uri"] == back
    cookie = response.headers["Set-Cookie"]
    assert "Secure" in cookie
    assert "Path=/adrelay/api/v1/platforms/claude/callback" in cookie


async def test_only_people_with_campaigns_may_connect(
    browser: aiohttp.ClientSession,
    make_person: MakePerson,
    make_api_key: MakeKey,
) -> None:
    path = f"{PLATFORM}/claude/connect"
    viewer = await make_person("viewer")
    key = await make_api_key(scopes=["campaigns:write", "campaigns:read"])
    assert (await browser.get(path, headers=JSON)).status == 401
    assert (await browser.get(path, headers=viewer.headers | JSON)).status == 403
    assert (await browser.get(path, headers={"X-API-Key": key} | JSON)).status == 403


async def test_an_unknown_platform_is_not_found(
    browser: aiohttp.ClientSession, owner: Owner
) -> None:
    for method, path in (("GET", "/connect"), ("GET", "/callback?state=x"), ("DELETE", "")):
        response = await browser.request(method, f"{PLATFORM}/myspace{path}", headers=owner.headers)
        await error_of(response, 404)


# --- the state --------------------------------------------------------------------------------


async def refused(response: aiohttp.ClientResponse, status: int, code: str) -> str:
    error = await error_of(response, status)
    assert error["code"] == code
    return str(error["message"])


async def test_a_state_is_good_for_one_use(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    back = await stage.decided(browser, await stage.asked(browser, owner))
    jar = [(c.key, c.value) for c in browser.cookie_jar]
    await body_of(await browser.get(back), 200)
    browser.cookie_jar.update_cookies(dict(jar), back)
    await refused(await browser.get(back), 400, "INVALID_STATE")
    [consent] = await stage.sandbox.control("GET", "/claude/consents")
    assert not consent["revoked"]


@pytest.mark.parametrize("cookie", [None, "another-browsers"])
async def test_a_state_is_bound_to_the_browser_that_began(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner, cookie: str | None
) -> None:
    back = await stage.decided(browser, await stage.asked(browser, owner))
    async with stage.browser() as other:
        if cookie:
            other.cookie_jar.update_cookies({"adrelay_consent": cookie}, back)
        message = await refused(await other.get(back), 400, "INVALID_STATE")
    assert "Connect the account again" in message
    # It was shown to a stranger: it is worth nothing to its owner either.
    await refused(await browser.get(back), 400, "INVALID_STATE")
    assert await stage.accounts(browser, owner) == []
    assert await stage.sandbox.control("GET", "/claude/consents") == []


async def test_an_account_is_connected_for_the_user_that_started(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    async with stage.browser() as attacker:
        villain = await stage.register(attacker)
        prepared = await stage.decided(attacker, await stage.asked(attacker, villain))
    await stage.asked(browser, owner)  # the victim has a cookie of its own
    await refused(await browser.get(prepared), 400, "INVALID_STATE")
    assert await stage.accounts(browser, owner) == []


@pytest.mark.parametrize("state", ["", "x", "A" * 43, "é" * 20, "A" * 150])
async def test_an_unknown_state_is_rejected(browser: aiohttp.ClientSession, state: str) -> None:
    place = URL(f"{PLATFORM}/claude/callback").with_query(code="c", state=state)
    await refused(await browser.get(place), 400, "INVALID_STATE")


async def test_a_state_ends_after_ten_minutes(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    back = await stage.decided(browser, await stage.asked(browser, owner))
    [key] = await stage.resources.redis.keys("consent:*")
    assert 590 <= await stage.resources.redis.ttl(key) <= 600
    await stage.resources.redis.pexpire(key, 1)
    await until(lambda: _gone(stage))
    await refused(await browser.get(back), 400, "INVALID_STATE")


async def _gone(stage: Stage) -> bool:
    return await stage.resources.redis.keys("consent:*") == []


async def test_a_state_of_one_platform_is_worth_nothing_at_another(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    back = await stage.decided(browser, await stage.asked(browser, owner))
    [cookie] = [c.value for c in browser.cookie_jar]
    other = back.with_path(f"{PLATFORM}/gemini/callback").with_query(back.query)
    browser.cookie_jar.update_cookies({"adrelay_consent": cookie}, other)
    await refused(await browser.get(other), 400, "INVALID_STATE")


async def test_a_state_ends_with_its_session(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    back = await stage.decided(browser, await stage.asked(browser, owner))
    body = {"refresh_token": owner.refresh_token}
    assert (await browser.post("/api/v1/auth/logout", json=body)).status == 204
    message = await refused(await browser.get(back), 401, "INVALID_TOKEN")
    assert "log in" in message


# --- what the platform says -------------------------------------------------------------------


async def test_a_denied_consent_has_its_own_error(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner, name: str
) -> None:
    back = await stage.decided(browser, await stage.asked(browser, owner, name), "deny")
    message = await refused(await browser.get(back), 400, "CONSENT_DENIED")
    assert message == f"You have not given your consent at {PLATFORMS[name].TITLE}."  # type: ignore[index]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ("invalid_scope", 502, "PLATFORM_REFUSED"),
        ("unauthorized_client", 502, "PLATFORM_REFUSED"),
        ("server_error", 503, "PLATFORM_UNAVAILABLE"),
        ("temporarily_unavailable", 503, "PLATFORM_UNAVAILABLE"),
    ],
)
async def test_an_error_of_the_authorization_server_is_quoted(
    stage: Stage,
    browser: aiohttp.ClientSession,
    owner: Owner,
    error: str,
    status: int,
    code: str,
) -> None:
    await stage.sandbox.faults("claude", consent_error=error)
    back = await stage.decided(browser, await stage.asked(browser, owner))
    message = await refused(await browser.get(back), status, code)
    assert "as the <b>test</b> wants" in message


async def test_a_response_of_another_issuer_is_rejected(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.sandbox.faults("claude", wrong_issuer=True)
    back = await stage.decided(browser, await stage.asked(browser, owner))
    await refused(await browser.get(back), 400, "WRONG_ISSUER")
    assert await stage.sandbox.control("GET", "/claude/consents") == []


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"refuse_codes": True}, 400, "CODE_REFUSED"),
        ({"refuse_credentials": True}, 502, "PLATFORM_REFUSED"),
        ({"outage": True}, 503, "PLATFORM_UNAVAILABLE"),
        ({"latency_ms": 6_000}, 503, "PLATFORM_UNAVAILABLE"),
    ],
)
async def test_a_code_that_yields_no_tokens_is_an_error(
    stage: Stage,
    browser: aiohttp.ClientSession,
    owner: Owner,
    fault: dict[str, Any],
    status: int,
    code: str,
) -> None:
    back = await stage.decided(browser, await stage.asked(browser, owner))
    await stage.sandbox.faults("claude", **fault)
    message = await refused(await browser.get(back), status, code)
    assert "Claude Ads" in message
    assert await stage.accounts(browser, owner) == []


async def test_a_code_of_another_authorization_yields_no_tokens(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    async with stage.browser() as attacker:
        villain = await stage.register(attacker)
        stolen = await stage.decided(attacker, await stage.asked(attacker, villain))
    mine = await stage.decided(browser, await stage.asked(browser, owner))
    injected = mine.update_query(code=stolen.query["code"])
    await refused(await browser.get(injected), 400, "CODE_REFUSED")  # PKCE
    assert await stage.accounts(browser, owner) == []


async def test_a_browser_gets_a_page_on_which_nothing_can_run(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.sandbox.faults("claude", consent_error="invalid_scope")
    back = await stage.decided(browser, await stage.asked(browser, owner))
    async with browser.get(back, headers=HTML) as response:
        body = await response.text()
    assert (response.status, response.content_type) == (502, "text/html")
    assert "as the &lt;b&gt;test&lt;/b&gt; wants" in body
    assert "<b>" not in body
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-store"


# --- disconnecting ----------------------------------------------------------------------------


async def test_a_disconnected_account_is_revoked_there_and_deleted_here(
    stage: Stage,
    browser: aiohttp.ClientSession,
    owner: Owner,
    name: str,
    engine: AsyncEngine,
) -> None:
    await stage.connect(browser, owner, name)
    response = await browser.delete(f"{PLATFORM}/{name}", headers=owner.headers)
    assert (await body_of(response, 202))["data"]["state"] == "disconnecting"

    async def gone() -> bool:
        return await stage.accounts(browser, owner) == []

    await until(gone)
    [consent] = await stage.sandbox.control("GET", f"/{name}/consents")
    assert consent["revoked"]
    await error_of(await browser.delete(f"{PLATFORM}/{name}", headers=owner.headers), 404)
    async with engine.connect() as tx:
        rows = await tx.execute(
            text("select routing_key from outbox where routing_key like 'platform.%' order by id")
        )
        keys = [row[0] for row in rows]
    assert keys == [
        f"platform.account_connected.v1.{name}",
        f"platform.account_disconnected.v1.{name}",
    ]


async def test_tokens_are_revoked_once_the_platform_is_up_again(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner, engine: AsyncEngine
) -> None:
    await stage.connect(browser, owner)
    await stage.sandbox.faults("claude", outage=True, times=1)
    response = await browser.delete(f"{PLATFORM}/claude", headers=owner.headers)
    await body_of(response, 202)

    async def well() -> bool:
        return (await stage.sandbox.control("GET", "/claude"))["outage"] is False

    await until(well)  # it was asked once, in vain
    [account] = await stage.accounts(browser, owner)
    assert account["state"] == "disconnecting"

    async def gone() -> bool:
        async with engine.begin() as tx:
            await tx.execute(text("update platform_accounts set leased_until = null"))
        return await stage.accounts(browser, owner) == []

    await until(gone)
    [consent] = await stage.sandbox.control("GET", "/claude/consents")
    assert consent["revoked"]


async def test_connecting_and_disconnecting_stand_in_the_audit_log(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner, engine: AsyncEngine
) -> None:
    await stage.connect(browser, owner)
    await browser.delete(f"{PLATFORM}/claude", headers=owner.headers)
    async with engine.connect() as tx:
        rows = await tx.execute(
            text(
                "select action, outcome, actor, subject, address from audit"
                " where action like 'platform.%' order by at"
            )
        )
        acts = [tuple(row) for row in rows]
    about = (owner.id, "claude", "127.0.0.1")
    assert acts == [("platform.connect", "ok", *about), ("platform.disconnect", "ok", *about)]


async def test_no_token_code_or_verifier_is_in_tables_or_events(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner, engine: AsyncEngine
) -> None:
    back = await stage.decided(browser, await stage.asked(browser, owner))
    await body_of(await browser.get(back), 200)
    async with engine.connect() as tx:
        rows = await tx.execute(
            text(
                "select a::text || encode(ciphertext, 'escape') from platform_accounts a"
                " union all select encode(body, 'escape') from outbox"
                " union all select a::text from audit a"
            )
        )
        stored = repr([row[0] for row in rows])
    consents = stage.sandbox.app.states["claude"].consents
    [access], [refresh] = consents.accesses, consents.refreshes
    assert "platform.account_connected.v1" in stored
    for secret in (access, refresh, back.query["code"], back.query["state"]):
        assert secret not in stored


async def test_accounts_are_listed_for_their_owner_only(
    stage: Stage, browser: aiohttp.ClientSession, owner: Owner
) -> None:
    await stage.connect(browser, owner)
    other = await stage.register(browser)
    assert await stage.accounts(browser, other) == []
    response = await browser.delete(f"{PLATFORM}/claude", headers=other.headers)
    await error_of(response, 404)
    [account] = await stage.accounts(browser, owner)
    assert account["state"] == "connected"
