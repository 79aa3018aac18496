"""A publisher on a plain socket: one connection, one channel with confirms.

It writes whatever it is given and reads what the broker says to it. When the broker closes the
channel or the connection, everything that it had not confirmed until then is unknown.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tests.raw_amqp.grammar import (
    FRAME_MAX,
    HEARTBEAT,
    METHOD,
    PROTOCOL,
    Publish,
    frame,
    method,
    short,
    string,
)

CHANNEL = 1
ANSWER_SECONDS = 60.0
CONNECTION_CLOSE, CHANNEL_CLOSE = (10, 50), (20, 40)
ACK, NACK, RETURN = (60, 80), (60, 120), (60, 50)
ACKED, NACKED, RETURNED, UNKNOWN = "acked", "nacked", "returned", "unknown"


@dataclass(frozen=True, slots=True)
class Closed:
    """How the broker has refused: it closed the ``channel`` or the ``connection``."""

    scope: str
    code: int
    text: str


class Refused(Exception):
    """The broker closed the connection or the channel before anything was published."""


class RawPublisher:
    """Publishes frames as they are; open it with ``open_publisher``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use a socket that is connected."""
        self.closed: Closed | None = None
        self._reader = reader
        self._writer = writer
        self._published = 0
        self._open: set[int] = set()
        self._answers: dict[int, str] = {}
        self._returned = 0
        self._told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self, user: str, password: str, vhost: str) -> None:
        """Shake hands (PLAIN), tune, open the vhost and a channel with confirms."""
        self._writer.write(PROTOCOL)
        await self._expect((10, 10))
        login = f"\0{user}\0{password}".encode()
        empty = struct.pack(">I", 0)
        start_ok = empty + short(b"PLAIN") + string(login).raw + short(b"en_US")
        self._writer.write(method(0, 10, 11, start_ok))
        await self._expect((10, 30))
        self._writer.write(method(0, 10, 31, struct.pack(">HIH", 8, FRAME_MAX, 0)))
        self._writer.write(method(0, 10, 40, short(vhost.encode()) + b"\0\0"))
        await self._expect((10, 41))
        self._writer.write(method(CHANNEL, 20, 10, short(b"")))
        await self._expect((20, 11))
        self._writer.write(method(CHANNEL, 85, 10, b"\0"))
        await self._expect((85, 11))
        self._task = asyncio.create_task(self._read_answers())

    async def publish(self, message: Publish) -> str:
        """Publish one message; tells what the broker made of it."""
        return (await self.publish_all([message]))[0]

    async def publish_all(self, messages: Sequence[Publish]) -> list[str]:
        """Publish messages in their order; tells what the broker made of each."""
        tags = range(self._published + 1, self._published + len(messages) + 1)
        self._published += len(messages)
        self._open.update(tags)
        with contextlib.suppress(ConnectionError):
            for message in messages:
                self._writer.write(message.frames(CHANNEL))
                await self._writer.drain()
        async with asyncio.timeout(ANSWER_SECONDS):
            while self.closed is None and self._open:
                self._told.clear()
                await self._told.wait()
        self._open.clear()
        return [self._answers.pop(tag, UNKNOWN) for tag in tags]

    async def close(self) -> None:
        """Close the socket; a broker that still listens is told before."""
        if self._task is not None:
            if self.closed is None:
                self._writer.write(
                    method(0, 10, 50, struct.pack(">H", 200) + short(b"") + b"\0" * 4)
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(self._task), 5)
            self._task.cancel()
            await asyncio.wait({self._task})
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _expect(self, wanted: tuple[int, int]) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            found, payload = await self._next_method()
        if found != wanted:
            raise Refused(f"{found} instead of {wanted}: {payload!r}")

    async def _next_method(self) -> tuple[tuple[int, int], bytes]:
        while True:
            kind, channel, size = struct.unpack(">BHI", await self._reader.readexactly(7))
            payload = (await self._reader.readexactly(size + 1))[:-1]
            if kind == HEARTBEAT:
                self._writer.write(frame(HEARTBEAT, channel, b""))
            elif kind == METHOD:
                name: tuple[int, int] = struct.unpack_from(">HH", payload)
                return name, payload[4:]

    async def _read_answers(self) -> None:
        try:
            while self.closed is None:
                self._take(*await self._next_method())
                self._told.set()
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.closed = self.closed or Closed("connection", 0, repr(error))
        finally:
            self._told.set()

    def _take(self, name: tuple[int, int], payload: bytes) -> None:
        if name in (CONNECTION_CLOSE, CHANNEL_CLOSE):
            (code,) = struct.unpack_from(">H", payload)
            text = payload[3 : 3 + payload[2]].decode(errors="replace")
            scope = "connection" if name == CONNECTION_CLOSE else "channel"
            self.closed = Closed(scope, code, text)
        elif name == (10, 51):
            self.closed = Closed("connection", 200, "as we asked")
        elif name == RETURN:
            self._returned += 1  # the confirm of the same message follows
        elif name in (ACK, NACK):
            tag, bits = struct.unpack_from(">QB", payload)
            self._settle(tag, multiple=bool(bits & 1), verdict=ACKED if name == ACK else NACKED)

    def _settle(self, tag: int, *, multiple: bool, verdict: str) -> None:
        if self._returned and not multiple and verdict == ACKED:
            self._returned, verdict = self._returned - 1, RETURNED
        settled = {one for one in self._open if one <= tag} if multiple else {tag}
        self._open -= settled
        self._answers.update(dict.fromkeys(settled, verdict))


@asynccontextmanager
async def open_publisher(url: str) -> AsyncIterator[RawPublisher]:
    """Connect with an AMQP URL for the length of a block; raises ``Refused`` or ``OSError``."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    publisher = RawPublisher(reader, writer)
    try:
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        await publisher.begin(user, password, unquote(parts.path[1:]))
        yield publisher
    finally:
        await publisher.close()
