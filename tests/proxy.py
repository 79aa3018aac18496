"""A TCP proxy before a server: cut off, frozen, slow, one-way, broken off within a frame."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import Enum

from pydantic import SecretStr
from yarl import URL

CHUNK = 65536


class Way(Enum):
    THERE = "there"  # from the client to the server
    BACK = "back"


class Proxy:
    """Forwards connections to ``target``; ``cut`` refuses all, ``freeze`` holds all back."""

    def __init__(self, target: URL) -> None:
        self._target = target
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0
        self.delay = 0.0  # seconds that every chunk waits
        self.broken = 0  # connections broken off by ``cut_after``
        self.swallowed = 0  # bytes
        self._swallowing: Way | None = None
        self._cut_after: int | None = None

    def url(self) -> SecretStr:
        return SecretStr(str(self._target.with_host("127.0.0.1").with_port(self.port)))

    def lead_to(self, host: str, port: int) -> None:
        """Forward new connections to another server; those that stand stay where they are."""
        self._target = self._target.with_host(host).with_port(port)

    def cut(self) -> None:
        self._refusing = True
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        self._flowing.clear()

    def swallow(self, way: Way) -> None:
        """Let bytes of one direction vanish while the other still flows."""
        self._swallowing = way

    def cut_after(self, count: int) -> None:
        """Break the next connection off that has ``count`` more bytes to send to the client."""
        self._cut_after = count

    def heal(self) -> None:
        self._refusing = False
        self._swallowing = None
        self._flowing.set()

    async def on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        if self._refusing:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(self._target.host, self._target.port)
        ways = (self._pump(Way.THERE, reader, back), self._pump(Way.BACK, there, writer))
        self._writers |= {writer, back}
        async with asyncio.TaskGroup() as group:
            for way in ways:
                task = group.create_task(way)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while chunk := await reader.read(CHUNK):
                await self._flowing.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                if self._swallowing is way:
                    self.swallowed += len(chunk)
                    continue
                part = self._allowed(way, chunk)
                writer.write(part)
                await writer.drain()
                if len(part) < len(chunk):
                    self.broken += 1
                    break
        writer.transport.abort()
        self._writers.discard(writer)

    def _allowed(self, way: Way, chunk: bytes) -> bytes:
        """Give as much of a chunk as may still pass before the cut; all of it without one."""
        if way is Way.THERE or self._cut_after is None:
            return chunk
        part = chunk[: self._cut_after]
        self._cut_after -= len(part)
        if len(part) < len(chunk):
            self._cut_after = None
        return part

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
