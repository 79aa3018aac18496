"""Tests the handlers of accounts and sessions with real Postgres, Redis and cryptography."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from events import (
    AuditRecorded,
    LoginRequested,
    LogoutRequested,
    RefreshRequested,
    RegistrationRequested,
    SessionRevoked,
    SessionStarted,
    UserRegistered,
)
from events.audit import AuditRecordedData
from events.envelope import Event, now
from events.sources import API_SOURCE
from events.users import EncryptedRequestData
from handlers.auth.actions import prepare_auth_requests
from handlers.auth.handlers import complete_auth_requests
from handlers.auth.keys import require_keys
from handlers.auth.requests import AuthRequest
from infra.errors import Permanent
from infra.messaging.context import Context
from infra.resources import Resources
from infra.security.access_tokens import TokenVerifier, make_signing_keys
from infra.security.keyring import Keyring
from infra.security.passwords import Passwords
from infra.security.sealed_box import encrypt_payload
from infra.settings import Settings
from infra.storage.users import UserRow, put_admin
from schemas.users import User

EMAIL, PASSWORD = "ada@example.com", "plain but long enough"
KEY, OTHER_KEY = "4a7e2f2a-8f5e-4c53-9d05-6a4b5e8f3a11", "b1946ac9-2492-4d23-8e0d-51ad7c1f6f0e"
CLIENT = {"address": "203.0.113.9", "device": "a browser"}
GRACELESS = {"refresh_grace_seconds": 0.001}


@dataclass
class Worker:
    """Prepares and completes requests, as the consumer does."""

    resources: Resources
    replies: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    after: list[Callable[[], Any]] = field(default_factory=list)

    @property
    def caused(self) -> list[Event]:
        """List what was caused, apart from the audit log's own events."""
        return [event for event in self.events if not isinstance(event, AuditRecorded)]

    async def ask(self, *requests: AuthRequest) -> list[dict[str, Any]]:
        prepared = await prepare_auth_requests(list(requests), self.resources)
        await self.complete(prepared)
        return [self.replies[request.id] for request in requests]

    async def complete(self, prepared: list[Any]) -> None:
        async with self.resources.engine.begin() as tx:
            self.events += await complete_auth_requests(prepared, self.context(tx))
        await self.finish_calls()

    async def finish_calls(self) -> None:
        while self.after:
            await self.after.pop(0)()

    def context(self, tx: Any) -> Context:
        def reply(event: Event, answer: dict[str, Any]) -> None:
            assert event.id not in self.replies
            self.replies[event.id] = answer

        return Context(
            self.resources, tx, now(), reply, self.after.append, lambda event: event.time
        )

    def with_settings(self, **changes: Any) -> "Worker":
        settings = self.resources.settings.model_copy(update=changes)
        passwords = Passwords(settings)
        keys = Keyring(settings, self.resources.redis)
        resources = replace(self.resources, settings=settings, passwords=passwords, keys=keys)
        return replace(self, resources=resources)

    def caused_types(self) -> list[str]:
        return [event.type for event in self.caused]

    def acts(self) -> list[AuditRecordedData]:
        return [event.data for event in self.events if isinstance(event, AuditRecorded)]


@pytest.fixture
async def worker(resources: Resources) -> Worker:
    return Worker(resources)


@pytest.fixture
def request_of(settings: Settings) -> Any:
    """Make a request as the ingress does; ``changes`` are those of an attacker."""

    def make(cls: type[Event], payload: dict[str, Any], **changes: Any) -> Any:
        event = cls(source=API_SOURCE, type=cls.event_type(), data=EncryptedRequestData(sealed="x"))
        box = encrypt_payload(
            settings.seal_public_key or "",
            {"body": payload, "client": CLIENT},
            purpose=event.type,
            request_id=event.id,
            lifetime=changes.pop("lifetime", timedelta(seconds=30)),
        )
        return event.model_copy(update={"data": EncryptedRequestData(sealed=box), **changes})

    return make


@pytest.fixture
def registration(request_of: Any) -> Any:
    def make(
        email: str = EMAIL, password: str = PASSWORD, key: str | None = KEY, **changes: Any
    ) -> Any:
        body = {"email": email, "password": password, "registration_id": key}
        return request_of(RegistrationRequested, body, **changes)

    return make


@pytest.fixture
def login(request_of: Any) -> Any:
    def make(email: str = EMAIL, password: str = PASSWORD, **changes: Any) -> Any:
        return request_of(LoginRequested, {"email": email, "password": password}, **changes)

    return make


@pytest.fixture
def refresh(request_of: Any) -> Any:
    def make(token: str, **changes: Any) -> Any:
        return request_of(RefreshRequested, {"refresh_token": token}, **changes)

    return make


@pytest.fixture
def logout(request_of: Any) -> Any:
    def make(token: str, **changes: Any) -> Any:
        return request_of(LogoutRequested, {"refresh_token": token}, **changes)

    return make


def code(reply: dict[str, Any]) -> tuple[int, str]:
    return reply["status"], reply["error"]["code"]


async def users(worker: Worker) -> int:
    async with worker.resources.engine.connect() as tx:
        return int((await tx.execute(text("select count(*) from users"))).scalar_one())


async def test_a_registration_makes_a_manager_who_is_logged_in(
    worker: Worker, registration: Any, settings: Settings
) -> None:
    (reply,) = await worker.ask(registration(email="Ada@Example.com"))
    data = reply["data"]
    assert reply["status"] == 201
    assert (data["user"]["email"], data["user"]["role"]) == (EMAIL, "manager")
    assert data.keys() == {"user", "access_token", "refresh_token", "token_type", "expires_in"}
    assert (data["token_type"], data["expires_in"]) == ("Bearer", 900)
    principal = TokenVerifier(settings).verify(data["access_token"])
    assert (principal.user_id, principal.role) == (UUID(data["user"]["id"]), "manager")
    registered, started = worker.caused
    assert isinstance(registered, UserRegistered)
    assert registered.data.user_id == principal.user_id
    assert isinstance(started, SessionStarted)
    assert started.data.session_id == principal.session_id


async def test_events_of_a_registration_name_what_caused_them(
    worker: Worker, registration: Any
) -> None:
    request = registration()
    await worker.ask(request)
    assert {event.causationid for event in worker.caused} == {request.id}
    assert {event.source for event in worker.caused} == {"urn:adrelay:auth"}


async def test_the_same_registration_again_is_answered_the_same(
    worker: Worker, registration: Any
) -> None:
    (first,) = await worker.ask(registration())
    (again,) = await worker.ask(registration())
    assert (first["status"], again["status"]) == (201, 201)
    assert again["data"]["user"] == first["data"]["user"]
    assert worker.caused_types().count("user.registered.v1") == 1
    assert await users(worker) == 1


@pytest.mark.parametrize(
    ("first", "second"), [(None, None), (None, KEY), (KEY, None), (KEY, OTHER_KEY)]
)
async def test_a_registration_that_is_no_repetition_gets_the_same_reply_for_any_password(
    worker: Worker, registration: Any, first: str | None, second: str | None
) -> None:
    await worker.ask(registration(key=first))
    replies = [
        (await worker.ask(registration(password=password, key=second)))[0]
        for password in (PASSWORD, "another long password")
    ]
    assert replies[0] == replies[1]
    assert code(replies[0]) == (409, "EMAIL_TAKEN")
    assert worker.caused_types().count("session.started.v1") == 1


async def test_an_admin_who_was_seeded_cannot_be_logged_in_by_a_registration(
    worker: Worker, registration: Any
) -> None:
    await worker.ask(registration())
    async with worker.resources.engine.begin() as tx:
        user = User(id=uuid4(), email=EMAIL, role="admin")
        hashed = await worker.resources.passwords.hash(PASSWORD)
        await put_admin(tx, UserRow(user, hashed))
    (reply,) = await worker.ask(registration())
    assert code(reply) == (409, "EMAIL_TAKEN")


async def test_an_address_is_taken_for_any_other_password(
    worker: Worker, registration: Any
) -> None:
    await worker.ask(registration())
    for email in (EMAIL, "ADA@example.com"):
        (reply,) = await worker.ask(registration(email, "another long password"))
        assert code(reply) == (409, "EMAIL_TAKEN")
    assert await users(worker) == 1


async def test_of_concurrent_registrations_one_wins_and_only_its_repetition_gets_a_session(
    worker: Worker, registration: Any
) -> None:
    requests = [registration(), registration(), registration(password="another long password")]
    prepared = [await prepare_auth_requests([one], worker.resources) for one in requests]
    await asyncio.gather(*(worker.complete(one) for one in prepared))
    statuses = sorted(worker.replies[request.id]["status"] for request in requests)
    assert statuses in ([201, 201, 409], [201, 409, 409])
    assert worker.caused_types().count("user.registered.v1") == 1
    assert await users(worker) == 1


async def test_within_one_batch_the_first_of_an_address_wins(
    worker: Worker, registration: Any
) -> None:
    replies = await worker.ask(
        registration(), registration(password="another long password"), registration()
    )
    assert [reply["status"] for reply in replies] == [201, 409, 201]
    assert await users(worker) == 1


async def test_a_registration_that_loses_the_race_leaves_no_session_behind(
    worker: Worker, registration: Any
) -> None:
    await worker.ask(registration(), registration(password="another long password"))
    still_open = [
        key
        async for key in worker.resources.redis.scan_iter("session:*")
        if await worker.resources.redis.hget(key, "ended") is None
    ]
    assert len(still_open) == 1


@pytest.mark.parametrize(
    ("email", "password", "fields"),
    [
        ("not an address", PASSWORD, {"email"}),
        ("ada@example", PASSWORD, {"email"}),
        (EMAIL, "short", {"password"}),
        (EMAIL, "password1234", {"password"}),
        (EMAIL, "\U0001f511" * 64, {"password"}),
        ("", "short", {"email", "password"}),
    ],
)
async def test_an_invalid_registration_is_answered_field_by_field(
    worker: Worker, registration: Any, email: str, password: str, fields: set[str]
) -> None:
    (reply,) = await worker.ask(registration(email, password))
    assert code(reply) == (400, "VALIDATION_ERROR")
    assert {detail["field"] for detail in reply["error"]["details"]} == fields
    assert password not in str(reply)
    assert worker.caused == []
    assert await users(worker) == 0


@pytest.mark.parametrize(
    "changes",
    [{"id": "another"}, {"source": "urn:example:upstream"}, {"lifetime": timedelta(seconds=-1)}],
    ids=["copied into another message", "copied under another source", "too late"],
)
async def test_a_registration_that_cannot_be_decrypted_is_dead_with_its_reason(
    worker: Worker, registration: Any, changes: dict[str, Any]
) -> None:
    (verdict,) = await prepare_auth_requests([registration(**changes)], worker.resources)
    assert isinstance(verdict, Permanent)
    assert verdict.code == "DECRYPTION_FAILED"


async def test_a_login_is_answered_with_tokens_of_a_new_session(
    worker: Worker, registration: Any, login: Any, settings: Settings
) -> None:
    (registered,) = await worker.ask(registration())
    (one, two) = await worker.ask(login(), login("ADA@example.com"))
    assert (one["status"], one["data"]["user"]) == (200, registered["data"]["user"])
    sessions = {
        TokenVerifier(settings).verify(reply["data"]["access_token"]).session_id
        for reply in (registered, one, two)
    }
    assert len(sessions) == 3
    assert worker.caused_types().count("session.started.v1") == 3


async def test_a_wrong_password_and_an_unknown_address_are_answered_the_same(
    worker: Worker, registration: Any, login: Any
) -> None:
    await worker.ask(registration())
    replies = await worker.ask(
        login(password="a wrong password"), login("eve@example.com"), login("no address at all")
    )
    assert [code(reply) for reply in replies] == [(401, "INVALID_CREDENTIALS")] * 3
    assert replies[0] == replies[1] == replies[2]
    assert worker.caused_types() == ["user.registered.v1", "session.started.v1"]


async def test_a_login_brings_an_old_hash_up_to_date(
    worker: Worker, registration: Any, login: Any
) -> None:
    await worker.ask(registration())
    dearer = worker.with_settings(argon2_time=2)
    for _ in range(2):
        (reply,) = await dearer.ask(login())
        assert reply["status"] == 200
        async with worker.resources.engine.connect() as tx:
            stored = (await tx.execute(text("select password_hash from users"))).scalar_one()
        assert "t=2" in stored


async def test_a_refresh_is_answered_with_tokens_and_without_the_user(
    worker: Worker, registration: Any, refresh: Any, settings: Settings
) -> None:
    (reply,) = await worker.ask(registration())
    (refreshed,) = await worker.ask(refresh(reply["data"]["refresh_token"]))
    data = refreshed["data"]
    assert refreshed["status"] == 200
    assert data.keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert data["refresh_token"] != reply["data"]["refresh_token"]
    before, after = (
        TokenVerifier(settings).verify(one["data"]["access_token"]) for one in (reply, refreshed)
    )
    assert before == after


async def test_a_refresh_carries_the_role_of_today(
    worker: Worker, registration: Any, refresh: Any, settings: Settings
) -> None:
    (reply,) = await worker.ask(registration())
    async with worker.resources.engine.begin() as tx:
        await tx.execute(text("update users set role = 'viewer'"))
    (refreshed,) = await worker.ask(refresh(reply["data"]["refresh_token"]))
    assert TokenVerifier(settings).verify(refreshed["data"]["access_token"]).role == "viewer"


async def test_a_refresh_of_an_account_that_is_gone_is_refused_and_ends_the_session(
    worker: Worker, registration: Any, refresh: Any
) -> None:
    (reply,) = await worker.ask(registration())
    async with worker.resources.engine.begin() as tx:
        await tx.execute(text("delete from users"))
    for _ in range(2):
        (refused,) = await worker.ask(refresh(reply["data"]["refresh_token"]))
        assert code(refused) == (401, "INVALID_TOKEN")


async def test_a_stolen_token_ends_the_session_and_publishes_that(
    worker: Worker, registration: Any, refresh: Any
) -> None:
    strict = worker.with_settings(**GRACELESS)
    (reply,) = await strict.ask(registration())
    spent = reply["data"]["refresh_token"]
    (refreshed,) = await strict.ask(refresh(spent))
    await asyncio.wait_for(_until_forgotten(strict), 10)
    (refused,) = await strict.ask(refresh(spent))
    assert code(refused) == (401, "TOKEN_REUSED")
    revoked = strict.caused[-1]
    assert isinstance(revoked, SessionRevoked)
    assert revoked.data.user_id == UUID(reply["data"]["user"]["id"])
    (refused,) = await strict.ask(refresh(refreshed["data"]["refresh_token"]))
    assert code(refused) == (401, "INVALID_TOKEN")


async def _until_forgotten(worker: Worker) -> None:
    """Wait until Redis has forgotten the grace of every spent token."""
    while [key async for key in worker.resources.redis.scan_iter("session:*:spent:*")]:
        await asyncio.sleep(0.002)


async def test_a_logout_ends_the_session_once(
    worker: Worker, registration: Any, refresh: Any, logout: Any
) -> None:
    (reply,) = await worker.ask(registration())
    token = reply["data"]["refresh_token"]
    (refreshed,) = await worker.ask(refresh(token))
    (one, two) = await worker.ask(logout(token), logout(refreshed["data"]["refresh_token"]))
    assert one == two == {"status": 204, "data": None}
    assert worker.caused_types().count("session.revoked.v1") == 1
    (refused,) = await worker.ask(refresh(refreshed["data"]["refresh_token"]))
    assert code(refused) == (401, "INVALID_TOKEN")


async def test_a_token_that_was_never_issued_is_refused(
    worker: Worker, registration: Any, refresh: Any, logout: Any
) -> None:
    (reply,) = await worker.ask(registration())
    access = reply["data"]["access_token"]
    replies = await worker.ask(refresh("made up"), logout("made up"), refresh(access[:512]))
    assert [code(reply) for reply in replies] == [(401, "INVALID_TOKEN")] * 3


@pytest.mark.parametrize(
    "changes",
    [{"id": "another"}, {"source": "urn:example:upstream"}, {"lifetime": timedelta(seconds=-1)}],
    ids=["copied into another message", "copied under another source", "too late"],
)
async def test_a_login_that_cannot_be_decrypted_is_answered_with_400(
    worker: Worker, registration: Any, login: Any, changes: dict[str, Any]
) -> None:
    await worker.ask(registration())
    (reply,) = await worker.ask(login(**changes))
    assert code(reply) == (400, "VALIDATION_ERROR")


async def test_a_box_for_a_registration_is_rejected_as_a_login(
    worker: Worker, registration: Any
) -> None:
    genuine = registration()
    (reply,) = await worker.ask(LoginRequested(id=genuine.id, source=API_SOURCE, data=genuine.data))
    assert code(reply) == (400, "VALIDATION_ERROR")


async def test_a_body_with_other_fields_is_answered_with_400(
    worker: Worker, request_of: Any
) -> None:
    (reply,) = await worker.ask(request_of(LoginRequested, {"email": EMAIL, "secret": PASSWORD}))
    assert code(reply) == (400, "VALIDATION_ERROR")
    assert PASSWORD not in str(reply)


async def test_no_secret_is_in_what_could_be_logged(worker: Worker, registration: Any) -> None:
    prepared = await prepare_auth_requests([registration()], worker.resources)
    await worker.complete(prepared)
    (reply,) = worker.replies.values()
    text = repr(prepared) + repr(worker.caused)
    assert reply["data"]["refresh_token"] not in text
    assert PASSWORD not in text
    assert "$argon2id$" not in text


@pytest.mark.parametrize("name", ["token_signing_key", "seal_private_key", "refresh_key"])
@pytest.mark.parametrize("value", [None, "", "too short"])
def test_a_worker_without_its_keys_says_which_one_is_missing(
    settings: Settings, name: str, value: str | None
) -> None:
    require_keys(settings)
    secret = None if value is None else SecretStr(value)
    with pytest.raises(ValueError, match=name.upper()):
        require_keys(settings.model_copy(update={name: secret}))


def test_a_worker_whose_tokens_no_verifier_accepts_does_not_start(settings: Settings) -> None:
    foreign = settings.model_copy(update={"token_verify_keys": (make_signing_keys().public,)})
    with pytest.raises(ValueError, match="TOKEN_VERIFY_KEYS"):
        require_keys(foreign)


async def test_every_action_is_in_the_audit_log_with_actor_address_and_outcome(
    worker: Worker, registration: Any, login: Any, refresh: Any
) -> None:
    (reply,) = await worker.ask(registration())
    await worker.ask(login(password="quite another one"))
    await worker.ask(login(email="nobody@example.com"))
    (again,) = await worker.ask(refresh(reply["data"]["refresh_token"]))
    account = UUID(reply["data"]["user"]["id"])
    assert "refresh_token" in again["data"]
    async with worker.resources.engine.connect() as connection:
        rows = await connection.execute(
            text("select action, outcome, actor, subject, address, device from audit order by at")
        )
        found = [tuple(row) for row in rows]
    client = ("203.0.113.9", "a browser")
    assert found == [
        ("registration", "ok", account, None, *client),
        ("login", "INVALID_CREDENTIALS", None, str(account), *client),
        ("login", "INVALID_CREDENTIALS", None, None, *client),
    ]
    assert [(act.action, act.outcome) for act in worker.acts()] == [row[:2] for row in found]


async def test_an_account_has_the_same_id_when_its_request_is_handled_again_without_it(
    worker: Worker, registration: Any
) -> None:
    request = registration()
    (first,) = await worker.ask(request)
    worker.replies.clear()
    async with worker.resources.engine.begin() as tx:  # as in a backup from before it
        await tx.execute(text("truncate users cascade"))
    (again,) = await worker.ask(request)
    assert (first["status"], again["status"]) == (201, 201)
    assert again["data"]["user"]["id"] == first["data"]["user"]["id"]
