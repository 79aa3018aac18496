"""Logging in and out of the console, and who is kept outside."""

from datetime import timedelta
from http.cookies import SimpleCookie
from ipaddress import ip_network

import aiohttp
import pytest
from redis.asyncio import Redis
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.settings import Settings
from infra.storage.tables import sessions, users
from infra.storage.users import set_role
from schemas.users import User
from tests.infra.ledger import until
from tests.workers.ops.conftest import (
    PASSWORD,
    TOKEN,
    MakeAccount,
    Visit,
    serving_console,
    visiting,
)
from workers.ops.csrf import make_csrf_token
from workers.ops.login import NOT_OURS, OVER, WRONG
from workers.ops.session import COOKIE, KEY_PREFIX, LOGIN_COOKIE


async def send_login(client: aiohttp.ClientSession, **form: str) -> tuple[int, str, SimpleCookie]:
    """Send the login form without a redirect; gives status, where it leads, and the cookies."""
    async with client.get("/login") as page:
        token, cookies = TOKEN.search(await page.text()), SimpleCookie(page.headers["Set-Cookie"])
    assert token
    headers = {"Cookie": f"{LOGIN_COOKIE}={cookies[LOGIN_COOKIE].value}"}
    fields = {"csrf": token[1], "password": PASSWORD, **form}
    async with client.post(
        "/login", data=fields, headers=headers, allow_redirects=False
    ) as response:
        cookies = SimpleCookie(response.headers["Set-Cookie"])
        return response.status, response.headers["Location"], cookies


async def audited(engine: AsyncEngine, action: str) -> list[str]:
    async with engine.connect() as tx:
        rows = await tx.execute(text("select outcome from audit where action = :a"), {"a": action})
        return [row.outcome for row in rows]


async def test_an_admin_logs_in_and_continues_where_the_browser_wanted_to_go(
    visit: Visit, admin: User
) -> None:
    status, page = await visit.get("/dead-letters?queue=metrics.record")
    assert status == 401
    assert 'name="next" value="/dead-letters?queue=metrics.record"' in page
    status, page = await visit.log_in(admin.email, next_path="/dead-letters?queue=metrics.record")
    assert status == 200
    assert "<h1>Dead letters</h1>" in page
    assert admin.email in page


@pytest.mark.parametrize("password", ["wrong", "", "x" * 200])
async def test_a_wrong_password_is_refused_and_the_address_kept_in_the_form(
    visit: Visit, admin: User, password: str
) -> None:
    status, page = await visit.log_in(admin.email, password)
    assert status == 401
    assert WRONG in page
    assert f'value="{admin.email}"' in page
    assert COOKIE not in {cookie.key for cookie in visit.client.cookie_jar}


@pytest.mark.parametrize("token", ["", "x", "A" * 43])
async def test_a_login_form_of_another_page_logs_nobody_in(
    visit: Visit, admin: User, token: str
) -> None:
    status, page = await visit.log_in(admin.email, csrf=token)
    assert status == 403
    assert NOT_OURS in page
    assert f'value="{admin.email}"' in page
    assert (await visit.log_in(admin.email))[0] == 200


async def test_a_login_without_its_cookie_logs_nobody_in(address: str, admin: User) -> None:
    form = {"email": admin.email, "password": PASSWORD, "csrf": make_csrf_token("")}
    async with (
        aiohttp.ClientSession(address) as client,
        client.post("/login", data=form, allow_redirects=False) as response,
    ):
        assert response.status == 403
        assert COOKIE not in SimpleCookie(response.headers["Set-Cookie"])


@pytest.mark.parametrize("role", ["manager", "viewer"])
async def test_another_role_is_refused_and_its_session_ended(
    visit: Visit, make_account: MakeAccount, engine: AsyncEngine, role: str
) -> None:
    account = await make_account(role)  # type: ignore[arg-type]
    status, page = await visit.log_in(account.email)
    assert status == 403
    assert f"Yours has the role {role}." in page
    async with engine.connect() as tx:
        ended = (await tx.execute(text("select ended_at from sessions"))).scalars().all()
    assert len(ended) == 1
    assert ended[0] is not None
    assert (await visit.get("/queues"))[0] == 401


async def test_failed_logins_are_limited_like_those_of_the_api(
    settings: Settings, auth_worker: None, admin: User
) -> None:
    assert auth_worker is None
    strict = settings.model_copy(update={"limit_login": "3/15 minutes"})
    async with serving_console(strict) as address, visiting(address) as visit:
        statuses = [(await visit.log_in(admin.email, "wrong"))[0] for _ in range(4)]
        assert statuses == [401, 401, 401, 429]
        status, page = await visit.log_in(admin.email)
        assert status == 429
        assert "Too many attempts" in page


async def test_the_cookie_is_for_this_host_alone_and_no_script(address: str, admin: User) -> None:
    async with aiohttp.ClientSession(address) as client:
        status, _, cookies = await send_login(client, email=admin.email)
    assert status == 303
    cookie = cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert not cookie["secure"]
    assert len(cookie.value) == 43


async def test_behind_a_trusted_proxy_with_tls_the_cookie_is_secure(
    settings: Settings, auth_worker: None, admin: User
) -> None:
    assert auth_worker is None
    proto = {"X-Forwarded-Proto": "https"}
    behind = settings.model_copy(update={"trusted_proxies": (ip_network("127.0.0.0/8"),)})
    secure = []
    for own in (behind, settings):
        async with (
            serving_console(own) as address,
            aiohttp.ClientSession(address, headers=proto) as client,
        ):
            _, _, cookies = await send_login(client, email=admin.email)
            secure.append(bool(cookies[COOKIE]["secure"]))
    assert secure == [True, False]


async def test_redis_holds_neither_the_id_nor_a_token_in_the_clear(
    inside: Visit, redis: Redis
) -> None:
    (cookie,) = [c for c in inside.client.cookie_jar if c.key == COOKIE]
    keys = [key async for key in redis.scan_iter(f"{KEY_PREFIX}*")]
    assert len(keys) == 1
    value = await redis.get(keys[0])
    assert isinstance(value, bytes)
    assert cookie.value not in str(keys[0])
    assert b"access_token" not in value
    assert b"eyJ" not in value


async def test_logout_ends_the_session_here_and_at_the_auth_worker(
    inside: Visit, engine: AsyncEngine
) -> None:
    status, page = await inside.send("/logout")
    assert (status, "Log in to the console" in page) == (200, True)
    assert (await inside.get("/queues"))[0] == 401
    assert await audited(engine, "logout") == ["ok"]


async def test_a_session_that_is_not_used_ends(
    settings: Settings, auth_worker: None, admin: User, redis: Redis
) -> None:
    assert auth_worker is None
    short = settings.model_copy(update={"console_idle_seconds": 1})
    async with serving_console(short) as address, visiting(address) as visit:
        await visit.log_in(admin.email)

        async def is_over() -> bool:
            return not [key async for key in redis.scan_iter(f"{KEY_PREFIX}*")]

        await until(is_over)
        status, page = await visit.get("/queues")
    assert status == 401
    assert OVER in page


async def test_a_session_ends_however_much_it_is_used(
    settings: Settings, auth_worker: None, admin: User
) -> None:
    assert auth_worker is None
    short = settings.model_copy(update={"console_session_seconds": 1})
    async with serving_console(short) as address, visiting(address) as visit:
        await visit.log_in(admin.email)

        async def is_out() -> bool:
            return (await visit.get("/queues"))[0] == 401

        await until(is_out)


async def test_an_admin_who_is_demoted_is_out_at_the_next_request(
    inside: Visit, admin: User, engine: AsyncEngine
) -> None:
    assert (await inside.get("/queues"))[0] == 200
    async with engine.begin() as tx:
        await set_role(tx, admin.model_copy(update={"role": "manager"}))
    assert (await inside.get("/queues"))[0] == 401
    async with engine.begin() as tx:
        await tx.execute(update(users).where(users.c.id == admin.id).values(role="admin"))
    assert (await inside.get("/queues"))[0] == 401


async def test_a_session_that_was_ended_elsewhere_is_out_at_the_next_request(
    inside: Visit, engine: AsyncEngine
) -> None:
    async with engine.begin() as tx:
        await tx.execute(update(sessions).values(ended_at=now(), ended_by="revoked"))
    status, page = await inside.get("/queues")
    assert status == 401
    assert OVER in page


async def test_without_redis_nobody_is_logged_in_and_a_page_says_so(
    settings: Settings, auth_worker: None, admin: User
) -> None:
    assert auth_worker is None
    gone = settings.model_copy(
        update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1")}
    )
    async with serving_console(gone) as address, visiting(address) as visit:
        status, page = await visit.log_in(admin.email)
    assert status == 503
    assert "Redis does not answer. It holds the sessions" in page


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
async def test_a_login_leads_to_no_other_site(address: str, admin: User, target: str) -> None:
    async with aiohttp.ClientSession(address) as client:
        _, location, _ = await send_login(client, email=admin.email, next=target)
    assert location == "/"


def test_the_lifetimes_of_the_settings_are_those_of_a_working_day() -> None:
    fields = Settings.model_fields
    assert timedelta(seconds=fields["console_idle_seconds"].default) == timedelta(minutes=30)
    assert timedelta(seconds=fields["console_session_seconds"].default) == timedelta(hours=12)
