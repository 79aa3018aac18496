"""An audited action whose commit is lost is done once, and its response is the success."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from infra.settings import Settings
from tests.workers.ingress.api.test_dead_letters import insert_dead_letters, make_dead_letter, rows
from tests.workers.ingress.conftest import Person, body_of, error_of, serving

COMMIT = b"COMMIT;"


class Forgetful:
    """Stands before Postgres; once ``armed`` it passes a commit on, and loses its answer."""

    def __init__(self, target: URL) -> None:
        self._target = target
        self.armed = False
        self.lost = 0

    async def on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert self._target.host is not None
        answers, asking = await asyncio.open_connection(self._target.host, self._target.port)
        losing = asyncio.Event()

        async def pass_answers() -> None:
            while chunk := await answers.read(65536):
                if losing.is_set():
                    self.lost += 1
                    break
                writer.write(chunk)
            writer.transport.abort()
            asking.transport.abort()

        passing = asyncio.create_task(pass_answers())
        while chunk := await reader.read(65536):
            if self.armed and COMMIT in chunk:
                self.armed = False
                losing.set()
            asking.write(chunk)
        asking.transport.abort()
        await passing


@asynccontextmanager
async def forgetful(settings: Settings) -> AsyncIterator[tuple[Settings, Forgetful]]:
    target = URL(settings.database_url.get_secret_value())
    proxy = Forgetful(target)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await proxy.on_connection(reader, writer)
        except ConnectionError:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = SecretStr(str(target.with_host("127.0.0.1").with_port(port)))
    try:
        yield settings.model_copy(update={"database_url": url}), proxy
    finally:
        server.close()


@pytest.mark.parametrize("act", ["replay", "discard"])
async def test_an_act_whose_commit_got_lost_is_done_once_and_answered_as_done(
    settings: Settings, engine: AsyncEngine, admin: Person, act: str
) -> None:
    (path,) = await insert_dead_letters(engine, make_dead_letter())
    async with forgetful(settings) as (own, proxy), serving(own) as client:
        await body_of(await client.get(path, headers=admin.headers), 200)
        proxy.armed = True
        answer = await client.post(f"{path}/{act}", headers=admin.headers)
        assert (await body_of(answer, 200))["data"] == {"count": 1, "more": False}
        assert proxy.lost == 1
        await error_of(await client.post(f"{path}/{act}", headers=admin.headers), 409)
    assert await rows(engine, "select outcome from audit order by at") == [("ok",), ("CONFLICT",)]
    sent = await rows(engine, "select 1 from outbox where exchange = 'adrelay.back'")
    assert len(sent) == (1 if act == "replay" else 0)
