"""Tests sessions in Redis and Postgres: Redis validates tokens, Postgres is authoritative."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from sqlalchemy import text

from events import (
    LoginRequested,
    LogoutRequested,
    PasswordChangeRequested,
    RefreshRequested,
    RegistrationRequested,
    SessionEndRequested,
    SessionRevoked,
    UserPasswordChanged,
)
from events.envelope import Event, new_id, now
from events.sources import API_SOURCE
from events.users import EncryptedRequestData
from handlers.auth.actions import prepare_auth_requests
from infra.errors import Transient
from infra.resources import Resources
from infra.security.access_tokens import TokenVerifier
from infra.security.keyring import Keyring
from infra.security.sealed_box import encrypt_payload
from infra.settings import Settings
from tests.handlers.auth.test_handlers import Worker, code

PASSWORD, OTHER = "plain but long enough", "another long password"
GRACELESS = {"refresh_grace_seconds": 0.001}
GONE = (401, "INVALID_TOKEN")


@dataclass
class Browser:
    """A client with an account and the newest tokens of one session."""

    worker: Worker
    settings: Settings
    email: str
    device: str
    tokens: dict[str, Any]

    @property
    def account(self) -> UUID:
        return TokenVerifier(self.settings).verify(self.tokens["access_token"]).user_id

    @property
    def session(self) -> str:
        return TokenVerifier(self.settings).verify(self.tokens["access_token"]).session_id

    def request(self, kind: type[Any], body: dict[str, Any], **client: Any) -> Any:
        return sealed(self.settings, kind, body, device=self.device, **client)

    def own(self, kind: type[Any], body: dict[str, Any]) -> Any:
        """Make a request with the access token, as the ingress seals it."""
        who = {"account": str(self.account), "session_id": self.session}
        return self.request(kind, body, **who)

    async def ask(self, request: Any) -> dict[str, Any]:
        (reply,) = await self.worker.ask(request)
        return reply

    async def show(self, token: str) -> dict[str, Any]:
        return await self.ask(self.request(RefreshRequested, {"refresh_token": token}))

    async def refresh(self) -> dict[str, Any]:
        reply = await self.show(self.tokens["refresh_token"])
        if reply["status"] == 200:
            self.tokens = reply["data"]
        return reply

    async def log_out(self) -> dict[str, Any]:
        body = {"refresh_token": self.tokens["refresh_token"]}
        return await self.ask(self.request(LogoutRequested, body))

    async def end(self, session_id: str | None = None) -> dict[str, Any]:
        return await self.ask(self.own(SessionEndRequested, {"session_id": session_id}))

    async def change_password(self, old: str = PASSWORD, new: str = OTHER) -> dict[str, Any]:
        passwords = {"current_password": old, "new_password": new}
        body = {"account": str(self.account), **passwords}
        return await self.ask(self.own(PasswordChangeRequested, body))

    async def log_in(self, device: str = "a phone", password: str = PASSWORD) -> "Browser":
        body = {"email": self.email, "password": password}
        reply = await self.ask(sealed(self.settings, LoginRequested, body, device=device))
        assert reply["status"] == 200, reply
        return replace(self, device=device, tokens=reply["data"])


def sealed(settings: Settings, kind: type[Event], body: dict[str, Any], **client: Any) -> Any:
    event_id = new_id()
    box = encrypt_payload(
        settings.seal_public_key or "",
        {"body": body, "client": {"address": "203.0.113.9", **client}},
        purpose=kind.event_type(),
        request_id=event_id,
    )
    return kind(
        id=event_id,
        source=API_SOURCE,
        type=kind.event_type(),
        data=EncryptedRequestData(sealed=box),
    )


@pytest.fixture
async def worker(resources: Resources) -> Worker:
    return Worker(resources)


async def browser_of(worker: Worker, settings: Settings) -> Browser:
    """Register somebody, as a browser does."""
    who = {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}
    request = sealed(settings, RegistrationRequested, who, device="a browser")
    (reply,) = await worker.ask(request)
    return Browser(worker, settings, who["email"], "a browser", reply["data"])


@pytest.fixture
async def ada(worker: Worker, settings: Settings) -> Browser:
    return await browser_of(worker, settings)


@pytest.fixture
async def strict(worker: Worker, settings: Settings) -> Browser:
    """The same without a grace for spent tokens."""
    return await browser_of(worker.with_settings(**GRACELESS), settings)


async def row_of(browser: Browser) -> Any:
    query = text("select * from sessions where id = :id")
    async with browser.worker.resources.engine.connect() as tx:
        return (await tx.execute(query, {"id": browser.session})).one()


async def ended_by(browser: Browser) -> str | None:
    row = await row_of(browser)
    assert (row.ended_at is None) == (row.ended_by is None)
    return None if row.ended_by is None else str(row.ended_by)


def revoked(worker: Worker) -> list[tuple[str, str | None]]:
    return [
        (e.data.session_id, e.data.reason) for e in worker.events if isinstance(e, SessionRevoked)
    ]


Snapshot = Callable[[], Awaitable[Callable[[], Awaitable[None]]]]


@pytest.fixture
async def snapshot(redis: Redis) -> Snapshot:
    """Take a copy of all that Redis knows of sessions; what it gives puts it back."""

    async def take() -> Callable[[], Awaitable[None]]:
        kept = {
            key: (await redis.dump(key) or b"", await redis.pttl(key))
            async for key in redis.scan_iter("session:*")
        }
        assert kept

        async def restore() -> None:
            await redis.flushdb()
            for key, (value, life) in kept.items():
                await redis.restore(key, max(life, 0), value)

        return restore

    return take


async def test_a_login_is_recorded_with_address_and_device(ada: Browser) -> None:
    phone = await ada.log_in()
    rows = [await row_of(browser) for browser in (ada, phone)]
    assert {row.user_id for row in rows} == {ada.account}
    assert [row.device for row in rows] == ["a browser", "a phone"]
    assert {row.address for row in rows} == {"203.0.113.9"}
    for row in rows:
        assert row.started_at == row.last_used_at
        assert (row.rotation_count, row.ended_at, row.ended_by) == (0, None, None)


async def test_a_refresh_is_recorded_with_address_and_device(ada: Browser) -> None:
    before = await row_of(ada)
    elsewhere = replace(ada, device="the same browser, newer")
    await elsewhere.refresh()
    await elsewhere.refresh()
    after = await row_of(elsewhere)
    assert after.last_used_at > before.last_used_at
    assert (after.started_at, after.device) == (before.started_at, "the same browser, newer")
    assert after.rotation_count == 2


# --- a Redis that comes back with old data ------------------------------------------------------


async def by_logout(browser: Browser) -> None:
    assert (await browser.log_out())["status"] == 204


async def by_reuse(browser: Browser) -> None:
    spent = browser.tokens["refresh_token"]
    await browser.refresh()
    async with asyncio.timeout(10):
        while (await browser.show(spent))["status"] == 200:
            await asyncio.sleep(0.002)


async def by_password_change(browser: Browser) -> None:
    phone = await browser.log_in()
    assert (await phone.change_password())["status"] == 204


async def by_another_session(browser: Browser) -> None:
    phone = await browser.log_in()
    assert (await phone.end(browser.session))["status"] == 204


async def by_all_others(browser: Browser) -> None:
    phone = await browser.log_in()
    assert (await phone.end())["status"] == 204


ENDINGS = {
    "logout": by_logout,
    "reuse": by_reuse,
    "password_changed": by_password_change,
    "revoked_by_user": by_another_session,
    "revoked_by_user with all others": by_all_others,
}


@pytest.mark.parametrize("reason", ENDINGS)
async def test_a_redis_with_old_data_resurrects_no_ended_session(
    strict: Browser, snapshot: Snapshot, reason: str
) -> None:
    restore = await snapshot()
    then = strict.tokens["refresh_token"]
    await ENDINGS[reason](strict)
    now = strict.tokens["refresh_token"]
    assert (await strict.show(now))["status"] == 401
    await restore()
    for token in (then, now, then):
        assert code(await strict.show(token)) in {GONE, (401, "TOKEN_REUSED")}
    await restore()
    assert code(await strict.show(then)) == GONE
    assert await ended_by(strict) == reason.partition(" ")[0]
    assert revoked(strict.worker) == [(strict.session, reason.partition(" ")[0])]


async def test_a_redis_with_old_data_makes_no_spent_token_good_again(
    ada: Browser, snapshot: Snapshot
) -> None:
    restore = await snapshot()
    spent = ada.tokens["refresh_token"]
    for _ in range(3):
        assert (await ada.refresh())["status"] == 200
    await restore()
    assert code(await ada.show(spent)) == GONE
    assert code(await ada.refresh()) == GONE  # nobody can tell the thief from the owner
    assert await ended_by(ada) == "redis_lost"
    assert revoked(ada.worker) == [(ada.session, "redis_lost")]


async def test_the_last_spent_token_is_not_good_again_after_its_grace(
    ada: Browser, snapshot: Snapshot
) -> None:
    restore = await snapshot()
    spent = ada.tokens["refresh_token"]
    await ada.refresh()
    await restore()
    async with ada.worker.resources.engine.begin() as tx:
        await tx.execute(text("update sessions set last_used_at = now() - interval '1 minute'"))
    assert code(await ada.show(spent)) == GONE
    assert await ended_by(ada) == "redis_lost"


async def test_a_redis_that_lost_one_rotation_within_the_grace_logs_nobody_out(
    ada: Browser, snapshot: Snapshot
) -> None:
    restore = await snapshot()
    spent = ada.tokens["refresh_token"]
    await ada.refresh()
    successor = ada.tokens["refresh_token"]
    await restore()
    assert (await ada.show(spent))["data"]["refresh_token"] == successor
    assert (await ada.refresh())["status"] == 200


async def test_a_redis_that_lost_everything_ends_sessions_and_the_row_says_so(
    ada: Browser, redis: Redis
) -> None:
    phone = await ada.log_in()
    await redis.flushdb()
    for _ in range(2):
        assert code(await ada.refresh()) == GONE
    assert await ended_by(ada) == "redis_lost"
    assert await ended_by(phone) is None  # nobody has asked for it yet
    assert revoked(ada.worker) == [(ada.session, "redis_lost")]
    again = await ada.log_in()
    assert (await again.refresh())["status"] == 200


async def test_a_session_without_a_row_is_over(ada: Browser) -> None:
    async with ada.worker.resources.engine.begin() as tx:
        await tx.execute(text("delete from sessions"))
    assert code(await ada.refresh()) == GONE
    assert [key async for key in ada.worker.resources.redis.scan_iter("session:{*}")] == []


async def test_a_session_that_was_not_used_for_the_life_of_a_token_is_over(
    ada: Browser, settings: Settings
) -> None:
    async with ada.worker.resources.engine.begin() as tx:
        await tx.execute(
            text("update sessions set last_used_at = :then"),
            {"then": now() - timedelta(seconds=settings.refresh_token_seconds)},
        )
    assert code(await ada.refresh()) == GONE
    assert await ended_by(ada) is None  # it has ended by itself, and its row shows when
    assert revoked(ada.worker) == []


async def test_a_logout_needs_no_redis(ada: Browser) -> None:
    nowhere = Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.5)
    keys = Keyring(ada.settings, nowhere)
    resources = replace(ada.worker.resources, redis=nowhere, keys=keys)
    offline = replace(ada, worker=replace(ada.worker, resources=resources))
    assert (await offline.log_out())["status"] == 204
    await nowhere.aclose()
    assert code(await ada.refresh()) == GONE
    assert await ended_by(ada) == "logout"


async def test_a_logout_is_published_once_however_often_it_is_requested(ada: Browser) -> None:
    assert [(await ada.log_out())["status"] for _ in range(3)] == [204] * 3
    assert revoked(ada.worker) == [(ada.session, "logout")]


async def test_logins_refreshes_and_reuse_are_counted_by_outcome(strict: Browser) -> None:
    def counted() -> dict[tuple[str, str], float]:
        return {
            (action, outcome): REGISTRY.get_sample_value(
                "adrelay_auth_requests_total", {"action": action, "outcome": outcome}
            )
            or 0.0
            for action, outcome in (
                ("login", "ok"),
                ("login", "INVALID_CREDENTIALS"),
                ("refresh", "ok"),
                ("refresh", "TOKEN_REUSED"),
                ("password.change", "INVALID_CREDENTIALS"),
            )
        }

    before = counted()
    waits = REGISTRY.get_sample_value("adrelay_password_wait_seconds_count") or 0.0
    await strict.log_in()
    await strict.ask(strict.request(LoginRequested, {"email": strict.email, "password": OTHER}))
    await strict.change_password("not the password")
    await by_reuse(strict)
    grown = {key: value - before[key] for key, value in counted().items()}
    assert grown.pop(("refresh", "ok")) >= 1
    assert set(grown.values()) == {1.0}
    assert (REGISTRY.get_sample_value("adrelay_password_wait_seconds_count") or 0.0) == waits + 3


# --- races --------------------------------------------------------------------------------------


async def test_a_session_that_ends_during_a_refresh_is_over(ada: Browser) -> None:
    request = ada.request(RefreshRequested, {"refresh_token": ada.tokens["refresh_token"]})
    prepared = await prepare_auth_requests([request], ada.worker.resources)
    await ada.log_out()
    await ada.worker.complete(prepared)
    assert code(ada.worker.replies[request.id]) == GONE


async def test_a_password_that_is_changed_during_a_login_fails_the_login(ada: Browser) -> None:
    body = {"email": ada.email, "password": PASSWORD}
    request = ada.request(LoginRequested, body)
    prepared = await prepare_auth_requests([request], ada.worker.resources)
    assert (await ada.change_password())["status"] == 204
    with pytest.raises(Transient):
        await ada.worker.complete(prepared)
    assert request.id not in ada.worker.replies


async def test_a_login_waits_for_a_change_of_the_password_that_is_under_way(ada: Browser) -> None:
    engine = ada.worker.resources.engine
    login = ada.request(LoginRequested, {"email": ada.email, "password": PASSWORD})
    prepared = await prepare_auth_requests([login], ada.worker.resources)
    async with engine.begin() as tx:
        await tx.execute(text("update users set password_hash = 'another'"))
        writing = asyncio.create_task(ada.worker.complete(prepared))
        async with asyncio.timeout(10):
            while not await _somebody_waits(ada):
                await asyncio.sleep(0.01)
        assert not writing.done()
    with pytest.raises(Transient):
        await writing


async def _somebody_waits(browser: Browser) -> bool:
    query = text("""
        select exists (select from pg_stat_activity
                       where wait_event_type = 'Lock' and datname = current_database())
    """)
    async with browser.worker.resources.engine.connect() as tx:
        return bool((await tx.execute(query)).scalar_one())


async def test_a_password_is_changed_by_one_of_two_at_once(ada: Browser) -> None:
    requests = [
        ada.own(
            PasswordChangeRequested,
            {"account": str(ada.account), "current_password": PASSWORD, "new_password": new},
        )
        for new in (OTHER, OTHER + "!")
    ]
    prepared = [await prepare_auth_requests([one], ada.worker.resources) for one in requests]
    for one in prepared:
        await ada.worker.complete(one)
    first, second = (ada.worker.replies[request.id] for request in requests)
    assert first["status"] == 204
    assert code(second) == (403, "INVALID_CREDENTIALS")
    await ada.log_in(password=OTHER)


# --- ending sessions ----------------------------------------------------------------------------


async def test_a_session_is_ended_by_its_owner_from_another_one(ada: Browser) -> None:
    phone = await ada.log_in()
    assert (await ada.end(phone.session))["status"] == 204
    assert code(await phone.refresh()) == GONE
    assert (await ada.refresh())["status"] == 200
    assert revoked(ada.worker) == [(phone.session, "revoked_by_user")]
    assert code(await ada.end(phone.session)) == (404, "NOT_FOUND")
    (*_, act) = [act for act in ada.worker.acts() if act.outcome == "ok"]
    assert (act.action, act.actor, act.subject) == ("session.end", ada.account, phone.session)


async def test_another_accounts_session_is_unknown(ada: Browser, settings: Settings) -> None:
    eve = await browser_of(ada.worker, settings)
    assert code(await eve.end(ada.session)) == (404, "NOT_FOUND")
    assert code(await eve.end("0" * 32)) == (404, "NOT_FOUND")
    assert (await eve.end())["status"] == 204
    assert (await ada.refresh())["status"] == 200
    assert revoked(ada.worker) == []


async def test_all_other_sessions_are_ended_at_once(ada: Browser) -> None:
    others = [await ada.log_in(f"phone {n}") for n in range(3)]
    assert (await ada.end())["status"] == 204
    assert {session for session, _ in revoked(ada.worker)} == {other.session for other in others}
    for other in others:
        assert code(await other.refresh()) == GONE
    assert (await ada.refresh())["status"] == 200
    assert (await ada.end())["status"] == 204
    assert len(revoked(ada.worker)) == 3


async def test_the_access_token_of_an_ended_session_ends_nothing_more(ada: Browser) -> None:
    phone = await ada.log_in()
    await ada.end(phone.session)
    assert code(await phone.end(ada.session)) == GONE
    assert code(await phone.end()) == GONE
    assert code(await phone.change_password()) == GONE
    assert (await ada.refresh())["status"] == 200
    await ada.log_in()  # with the password as it was


async def test_ended_sessions_are_deleted_in_redis(ada: Browser, redis: Redis) -> None:
    phone = await ada.log_in()
    await ada.end(phone.session)
    keys = [key.decode() async for key in redis.scan_iter("session:*")]
    assert keys == [f"session:{{{ada.session}}}"]


# --- another password ---------------------------------------------------------------------------


async def test_a_changed_password_ends_every_other_session(ada: Browser) -> None:
    phone = await ada.log_in()
    assert await ada.change_password() == {"status": 204, "data": None}
    assert code(await phone.refresh()) == GONE
    assert (await ada.refresh())["status"] == 200
    body = {"email": ada.email, "password": PASSWORD}
    assert code(await ada.ask(ada.request(LoginRequested, body))) == (401, "INVALID_CREDENTIALS")
    assert (await (await ada.log_in(password=OTHER)).refresh())["status"] == 200
    assert revoked(ada.worker) == [(phone.session, "password_changed")]
    (changed,) = [e for e in ada.worker.events if isinstance(e, UserPasswordChanged)]
    assert (changed.data.user_id, changed.data.role) == (ada.account, "manager")
    assert OTHER not in repr(ada.worker.events)
    acts = [act for act in ada.worker.acts() if act.action == "password.change"]
    assert [(a.outcome, a.actor, a.subject) for a in acts] == [
        ("ok", ada.account, str(ada.account))
    ]


async def test_a_wrong_current_password_is_403_and_changes_nothing(ada: Browser) -> None:
    phone = await ada.log_in()
    assert code(await ada.change_password("not the password")) == (403, "INVALID_CREDENTIALS")
    assert (await phone.refresh())["status"] == 200
    await ada.log_in()
    assert ada.worker.acts()[-2].outcome == "INVALID_CREDENTIALS"


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ("short", "at least 12"),
        ("password1234", "tried first"),
        ("\U0001f511" * 40, "at most 128 bytes"),
        ("\ufb03" * 43, "at most 128 bytes"),  # NFKC makes three letters of each
    ],
)
async def test_a_new_password_follows_the_rules_of_a_registration(
    ada: Browser, new: str, reason: str
) -> None:
    reply = await ada.change_password(new=new)
    assert code(reply) == (400, "VALIDATION_ERROR")
    (detail,) = reply["error"]["details"]
    assert detail["field"] == "new_password"
    assert reason in detail["message"]
    await ada.log_in()


async def test_a_password_of_an_account_that_is_gone_is_wrong(ada: Browser) -> None:
    async with ada.worker.resources.engine.begin() as tx:
        await tx.execute(text("delete from users"))
    assert code(await ada.change_password()) == (403, "INVALID_CREDENTIALS")


async def test_two_spellings_of_the_same_characters_are_the_same_password(ada: Browser) -> None:
    await ada.change_password(new="Zoe\u0308 has a long one")
    await ada.log_in(password="Zo\u00eb has a long one")


async def test_a_password_that_no_account_can_have_is_just_wrong(ada: Browser) -> None:
    body = {"email": ada.email, "password": "\ufdfa" * 128}  # 2,304 characters after NFKC
    reply = await ada.ask(ada.request(LoginRequested, body))
    assert code(reply) == (401, "INVALID_CREDENTIALS")
