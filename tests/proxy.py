"""A TCP proxy in front of a server, which can be cut off and frozen at will."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from pydantic import SecretStr
from yarl import URL

CHUNK = 65536


class Proxy:
    """Forwards connections to ``target``; ``cut`` refuses all, ``freeze`` swallows all."""

    def __init__(self, target: URL) -> None:
        self._target = target
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0

    def url(self) -> SecretStr:
        return SecretStr(str(self._target.with_host("127.0.0.1").with_port(self.port)))

    def cut(self) -> None:
        self._refusing = True
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        self._flowing.clear()

    def heal(self) -> None:
        self._refusing = False
        self._flowing.set()

    async def on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        if self._refusing:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(self._target.host, self._target.port)
        ways = (self._pump(reader, back), self._pump(there, writer))
        self._writers |= {writer, back}
        async with asyncio.TaskGroup() as group:
            for way in ways:
                task = group.create_task(way)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while chunk := await reader.read(CHUNK):
                await self._flowing.wait()
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()
        self._writers.discard(writer)

    def stop(self) -> None:
        self.cut()
        for task in self._tasks:
            task.cancel()


@contextlib.asynccontextmanager
async def open_proxy(target: SecretStr) -> AsyncIterator[Proxy]:
    proxy = Proxy(URL(target.get_secret_value()))
    server = await asyncio.start_server(proxy.on_connection, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.stop()
