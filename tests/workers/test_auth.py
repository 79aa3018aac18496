"""Tests the auth worker as a process, with requests over a real broker."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import (
    EVENTS,
    LoginRequested,
    LogoutRequested,
    RefreshRequested,
    RegistrationRequested,
)
from events.envelope import new_id
from events.sources import API_SOURCE
from events.users import EncryptedRequestData
from handlers.auth.requests import AuthRequest
from infra.amqp import topology
from infra.amqp.message import Message, build_message
from infra.amqp.permissions import INGRESS_USER
from infra.amqp.rpc import RpcClient
from infra.errors import Outage
from infra.security.access_tokens import TokenVerifier
from infra.security.sealed_box import encrypt_payload
from infra.settings import Settings
from tests.fork_server import run_module
from tests.infra.ledger import depth, until
from tests.processes import running
from tests.services import as_user, environment

PASSWORD = "plain but long enough"
WHO = {"email": "ada@example.com", "password": PASSWORD}
MODULE = "workers.auth"


class Client:
    """Asks the worker as the ingress does."""

    def __init__(self, requester: RpcClient, settings: Settings) -> None:
        self._requester = requester
        self._settings = settings

    async def call(
        self, kind: type[AuthRequest], body: dict[str, str], seconds: float = 20
    ) -> dict[str, Any]:
        return await self._requester.call(message(self.event(kind, body)), seconds)

    def event(self, kind: type[AuthRequest], body: dict[str, str]) -> AuthRequest:
        event_id = new_id()
        box = encrypt_payload(
            self._settings.seal_public_key or "",
            {"body": body},
            purpose=kind.event_type(),
            request_id=event_id,
            lifetime=timedelta(minutes=5),
        )
        return kind(id=event_id, source=API_SOURCE, data=EncryptedRequestData(sealed=box))


def message(event: AuthRequest) -> Message:
    if isinstance(event, RegistrationRequested):
        return build_message(event)
    return build_message(event, topology.REQUEST_EXCHANGE)


@asynccontextmanager
async def asking(settings: Settings) -> AsyncIterator[Client]:
    async with RpcClient(as_user(INGRESS_USER, settings), "test") as requester:
        yield Client(requester, settings)


async def rows(engine: AsyncEngine, sql: str) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(sql))).all())


async def test_an_account_lives_through_register_login_refresh_and_logout(
    settings: Settings, engine: AsyncEngine
) -> None:
    async with running(MODULE, settings), asking(settings) as client:
        keyed = {**WHO, "registration_id": str(uuid4())}
        registered = await client.call(RegistrationRequested, keyed)
        again = await client.call(RegistrationRequested, keyed)
        taken = await client.call(RegistrationRequested, {**WHO, "password": PASSWORD + "!"})
        wrong = await client.call(LoginRequested, {**WHO, "password": PASSWORD + "!"})
        logged_in = await client.call(LoginRequested, WHO)
        token = logged_in["data"]["refresh_token"]
        refreshed = await client.call(RefreshRequested, {"refresh_token": token})
        ended = await client.call(LogoutRequested, {"refresh_token": token})
        successor = refreshed["data"]["refresh_token"]
        late = await client.call(RefreshRequested, {"refresh_token": successor})
    answers = (registered, again, taken, wrong, logged_in, refreshed, ended, late)
    assert [answer["status"] for answer in answers] == [201, 201, 409, 401, 200, 200, 204, 401]
    verifier = TokenVerifier(settings)
    assert verifier.verify(registered["data"]["access_token"]).role == "manager"
    assert verifier.verify(refreshed["data"]["access_token"]) == verifier.verify(
        logged_in["data"]["access_token"]
    )
    sent = await rows(engine, "select routing_key, count(*) from outbox group by 1")
    assert {row[0]: row[1] for row in sent} == {
        "user.registered.v1": 1,
        "session.started.v1": 3,
        "session.revoked.v1": 1,
        "audit.recorded.v1": 7,  # all but the refresh that succeeded
    }


async def test_of_many_registrations_for_one_address_one_makes_the_account(
    settings: Settings, engine: AsyncEngine
) -> None:
    keys = [str(uuid4()) for _ in range(4)]
    bodies = [
        {**WHO, "password": f"{PASSWORD} {n % 4}", "registration_id": keys[n % 4]}
        for n in range(12)
    ]
    async with running(MODULE, settings), asking(settings) as client:
        answers = await asyncio.gather(
            *(client.call(RegistrationRequested, body) for body in bodies)
        )
    statuses = [answer["status"] for answer in answers]
    assert sorted(statuses) == [201] * 3 + [409] * 9
    assert len(await rows(engine, "select 1 from users")) == 1


async def test_a_registration_waits_for_the_worker_and_a_login_does_not(
    settings: Settings, engine: AsyncEngine, broker: AbstractConnection
) -> None:
    async with asking(settings) as client:
        for kind in (RegistrationRequested, LoginRequested):
            with pytest.raises(Outage):
                await client.call(kind, WHO, 0.2)
        assert await depth(broker, "auth.register") == 1
        await until(lambda: _empty(broker, "auth.session"))
        async with running(MODULE, settings):
            logged_in = await _logged_in(client)
    assert logged_in["data"]["user"]["email"] == "ada@example.com"
    assert len(await rows(engine, "select 1 from users")) == 1


async def _empty(broker: AbstractConnection, queue: str) -> bool:
    return await depth(broker, queue) == 0


async def _logged_in(client: Client) -> dict[str, Any]:
    while True:
        answer = await client.call(LoginRequested, WHO)
        if answer["status"] == 200:
            return answer
        await asyncio.sleep(0.05)


async def test_a_copied_request_is_not_answered(settings: Settings) -> None:
    async with (
        running(MODULE, settings),
        asking(settings) as client,
        RpcClient(as_user(INGRESS_USER, settings), "thief") as thief,
    ):
        await client.call(RegistrationRequested, WHO)
        event = client.event(LoginRequested, WHO)
        assert (await client._requester.call(message(event), 20))["status"] == 200
        with pytest.raises(Outage):
            await thief.call(message(event), 1)
        other = event.model_copy(update={"source": "urn:example:thief"})
        assert (await thief.call(message(other), 20))["status"] == 400


async def test_slow_hashes_do_not_hold_up_a_refresh(settings: Settings) -> None:
    slow = settings.model_copy(update={"argon2_memory_kib": 64 * 1024, "argon2_time": 3})
    async with running(MODULE, slow), asking(settings) as client:
        registered = await client.call(RegistrationRequested, WHO)
        logins = [asyncio.create_task(client.call(LoginRequested, WHO)) for _ in range(8)]
        refreshed = await client.call(
            RefreshRequested, {"refresh_token": registered["data"]["refresh_token"]}
        )
        waiting = sum(not login.done() for login in logins)
        answers = await asyncio.gather(*logins)
    assert refreshed["status"] == 200
    assert waiting >= 4
    assert {answer["status"] for answer in answers} == {200}


async def test_a_registration_that_cannot_be_decrypted_is_dead_with_its_reason(
    settings: Settings, broker: AbstractConnection
) -> None:
    async with running(MODULE, settings), asking(settings) as client:
        event = client.event(RegistrationRequested, WHO)
        copied = event.model_copy(update={"id": new_id()})
        with pytest.raises(Outage):
            await client._requester.call(message(copied), 1)
        await until(lambda: _dead(broker))
        async with broker.channel() as channel:
            queue = await channel.get_queue("auth.register.dead")
            letter = await queue.get(no_ack=True)
    assert letter is not None
    assert letter.headers["x-adrelay-error-class"] == "DECRYPTION_FAILED"
    assert PASSWORD.encode() not in letter.body


async def _dead(broker: AbstractConnection) -> bool:
    return await depth(broker, "auth.register.dead") == 1


def test_a_worker_without_a_key_ends_and_names_it(settings: Settings) -> None:
    done = run_module(MODULE, env={**environment(settings), "REFRESH_KEY": "too short"})
    assert done.returncode == 1
    assert "REFRESH_KEY: it must be 32 bytes" in done.stderr
    assert "too short" not in done.stderr


async def test_a_killed_worker_loses_no_registration(
    settings: Settings, engine: AsyncEngine
) -> None:
    async with asking(settings) as client, running(MODULE, settings) as first:
        people = [{"email": f"u{n}@example.com", "password": PASSWORD} for n in range(40)]
        asked = [asyncio.create_task(client.call(RegistrationRequested, who)) for who in people]
        await until(lambda: _some(engine))
        first.send(signal.SIGKILL)
        await first.ended()
        async with running(MODULE, settings):
            await until(lambda: _all(engine, 40))
            for waiting in asked:  # the replies of the killed worker never come
                waiting.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
    (disconnections,) = await rows(
        engine, "select count(*) from outbox where routing_key = 'user.registered.v1'"
    )
    assert disconnections[0] == 40


async def _some(engine: AsyncEngine) -> bool:
    return len(await rows(engine, "select 1 from users")) > 0


async def _all(engine: AsyncEngine, count: int) -> bool:
    return len(await rows(engine, "select 1 from users")) == count


def test_every_event_of_the_worker_is_in_the_catalogue() -> None:
    from workers.auth import SUBSCRIPTIONS

    queues = {queue.name: queue.events for queue in topology.WORK_QUEUES + topology.REQUEST_QUEUES}
    for subscription in SUBSCRIPTIONS:
        assert set(subscription.events) == set(queues[subscription.queue]) <= set(EVENTS)
