"""After all that people do with passwords and tokens, none is found anywhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import RegistrationRequested
from events.envelope import new_id
from infra.amqp import topology, topology_declaration
from infra.errors import Outage
from infra.settings import Settings
from infra.storage.tables import metadata
from tests.infra.ledger import until
from tests.processes import Process, running
from tests.workers.test_auth import asking, message

FIRST, SECOND, WRONG = "the first long password", "the second long password", "a wrong password"
PATH = "/api/v1/auth"
PROCESSES = ("workers.ingress", "workers.auth", "workers.relay")


class Ada:
    """Does everything that there is to do with a password or a token, and keeps them all."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self._client = client
        self._email = f"{uuid4().hex}@example.com"
        self.secrets = {FIRST, SECOND, WRONG}
        self.statuses: list[int] = []

    async def call(self, method: str, path: str, token: str = "", **body: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        response = await self._client.request(
            method, PATH + path, json=body or None, headers=headers
        )
        self.statuses.append(response.status)
        data: Any = (await response.json()).get("data") if response.status != 204 else None
        if isinstance(data, dict):
            found = ("access_token", "refresh_token")
            self.secrets |= {data[name] for name in found if name in data}
        return data or {}

    async def do_everything(self) -> None:
        who = {"email": self._email, "password": FIRST}
        one = await self.call("POST", "/register", **who)
        two = await self.call("POST", "/login", **who)
        await self.call("POST", "/login", **{**who, "password": WRONG})
        spent = two["refresh_token"]
        two |= await self.call("POST", "/refresh", refresh_token=spent)
        access = two["access_token"]
        wrong = {"current_password": WRONG, "new_password": SECOND}
        await self.call("POST", "/password", access, **wrong)
        await self.call("POST", "/password", access, **{**wrong, "current_password": FIRST})
        three = await self.call("POST", "/login", email=self._email, password=SECOND)
        await self.call("GET", "/sessions", access)
        await self.call("DELETE", "/sessions", access)
        await self.call("POST", "/refresh", refresh_token=three["refresh_token"])
        await self.call("POST", "/refresh", refresh_token=one["refresh_token"])
        await self.call("POST", "/logout", refresh_token=spent)
        await self.call("POST", "/refresh", refresh_token=two["refresh_token"])
        await self.call("GET", "/me", access + "x")


EXPECTED = [201, 200, 401, 200, 403, 204, 200, 200, 204, 401, 401, 204, 401, 401]


@asynccontextmanager
async def all_running(settings: Settings) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running(name, settings)) for name in PROCESSES]


@asynccontextmanager
async def spying(broker: AbstractConnection) -> AsyncIterator[list[bytes]]:
    """Keep a copy of every message that anybody publishes."""
    seen: list[bytes] = []

    async def take(found: AbstractIncomingMessage) -> None:
        seen.append(_whole(found))

    async with broker.channel() as channel:
        spy = await channel.declare_queue(exclusive=True)
        for exchange in (
            topology.EVENTS_EXCHANGE,
            topology.REQUEST_EXCHANGE,
            topology.DEAD_LETTER_EXCHANGE,
        ):
            await spy.bind(exchange, "#")
        await spy.consume(take, no_ack=True)
        yield seen


def _whole(found: AbstractIncomingMessage) -> bytes:
    return f"{found.routing_key} {found.info()} ".encode() + found.body


async def a_dead_registration(settings: Settings) -> None:
    """Send a registration that nobody can open, because it was made for another message."""
    async with asking(settings) as client:
        event = client.event(RegistrationRequested, {"email": "a@example.com", "password": FIRST})
        copied = event.model_copy(update={"id": new_id()})
        with pytest.raises(Outage):
            await client._requester.call(message(copied), 1)


async def history(broker: AbstractConnection, count: int) -> list[bytes]:
    found: list[bytes] = []

    async def take(one: AbstractIncomingMessage) -> None:
        found.append(_whole(one))
        await one.ack()

    async def enough() -> bool:
        return len(found) >= count

    async with broker.channel() as channel:
        await channel.set_qos(100)
        queue = await channel.get_queue(topology.EVENT_LOG, ensure=False)
        await queue.consume(take, arguments={"x-stream-offset": "first"})
        await until(enough)
    return found


async def queued(broker: AbstractConnection) -> list[bytes]:
    """Take whatever is left in any queue."""
    found = []
    async with broker.channel() as channel:
        for declared in topology_declaration.queues():
            if declared.name != topology.EVENT_LOG:
                queue = await channel.get_queue(declared.name, ensure=False)
                while (one := await queue.get(fail=False, no_ack=True)) is not None:
                    found.append(_whole(one))
    return found


async def tables(engine: AsyncEngine) -> dict[str, list[str]]:
    """Read every row of every table; bytes as text."""
    found = {}
    async with engine.connect() as tx:
        await tx.execute(text("set bytea_output = 'escape'"))
        for name in metadata.tables:
            rows = await tx.execute(text(f"select t::text from {name} t"))  # noqa: S608 - our names
            found[name] = [row[0] for row in rows]
    return found


async def cached(redis: Redis) -> str:
    found = ""
    async for key in redis.scan_iter("*"):
        kind = await redis.type(key)
        value = await (redis.hgetall(key) if kind == b"hash" else redis.dump(key))
        found += f"{key!r} {value!r} "
    return found


async def test_no_password_or_token_is_in_logs_tables_or_queues(
    settings: Settings, engine: AsyncEngine, broker: AbstractConnection, redis: Redis
) -> None:
    loud = settings.model_copy(update={"log_level": "DEBUG"})

    async def settled() -> bool:
        rows = await tables(engine)
        return len(rows["dead_letters"]) == 1 and not rows["outbox"]

    async with spying(broker) as seen, all_running(loud) as processes:
        url = f"http://127.0.0.1:{processes[0].port}"
        async with aiohttp.ClientSession(url) as client:
            ada = Ada(client)
            await ada.do_everything()
        await a_dead_registration(settings)
        await until(settled)
        rows = await tables(engine)
        events = [one for one in seen if not one.startswith((b"login.", b"refresh."))]
        kept = await history(broker, 10)
        await asyncio.gather(*(process.stop() for process in processes))
        logs = [process.output for process in processes]
    everything = repr((seen, kept, await queued(broker), rows, logs)) + await cached(redis)

    assert ada.statuses == EXPECTED
    assert len(ada.secrets) == 3 + 2 * 4
    assert len(events) > 10
    assert all("started" in log for log in logs)
    for place in ("password.change_requested.v1", "session.end_requested.v1", "audit.recorded.v1"):
        assert any(one.startswith(place.encode()) for one in seen), place
    for name in ("users", "sessions", "audit", "dead_letters", "inbox"):
        assert rows[name], name
    assert "$argon2id$" in repr(rows["users"])
    for secret in ada.secrets:
        assert secret not in everything
        assert secret.rpartition(".")[2] not in everything  # not even a token's signature
