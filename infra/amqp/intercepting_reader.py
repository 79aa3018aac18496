"""The socket of a connection to the broker, with a tap on what comes in.

The library notices a dead connection by the frames it sees; while reading is paused, it is shown
heartbeats.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, SupportsIndex, cast

from aiormq.abc import DeliveredMessage
from aiormq.connection import SSLContextProvider, TransportFactory
from yarl import URL

from infra.amqp.delivery_parser import HEARTBEAT, HEARTBEAT_EVERY, DeliveryParser


async def never_called(message: DeliveredMessage) -> None:
    """Stand for a consumer's callback in the library, which no delivery reaches."""
    raise RuntimeError(f"delivery {message.delivery_tag} has missed the tap")


class InterceptingReader(asyncio.StreamReader):
    """A stream reader whose bytes pass a tap first."""

    def __init__(self, tap: DeliveryParser, loop: asyncio.AbstractEventLoop) -> None:
        """Read for ``tap``."""
        super().__init__(loop=loop)
        self._tap = tap
        self._loop = loop
        self._socket: asyncio.Transport | None = None
        self._beating: asyncio.TimerHandle | None = None
        tap.held.attach(self)

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Take in what the socket has; called by the transport."""
        onward = self._tap.take(bytes(data), self._loop.time())
        if onward:
            super().feed_data(onward)

    @property
    def unsent(self) -> int:
        """How many bytes wait to be written."""
        return 0 if self._socket is None else self._socket.get_write_buffer_size()

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        """Take the connected socket; called by the protocol."""
        super().set_transport(transport)
        self._socket = cast("asyncio.Transport", transport)

    def feed_eof(self) -> None:
        """Take note that the connection has ended; called by the transport."""
        self._stop_beating()
        super().feed_eof()

    def pause(self) -> None:
        """Read nothing more from the socket; the library is shown heartbeats meanwhile."""
        if self._socket is not None and not self._socket.is_closing():
            self._socket.pause_reading()
            self._beat()

    def resume(self) -> None:
        """Read the socket again."""
        self._stop_beating()
        if self._socket is not None and not self._socket.is_closing():
            self._socket.resume_reading()

    def _beat(self) -> None:
        if self._socket is not None and not self._socket.is_closing():
            super().feed_data(HEARTBEAT)
            self._beating = self._loop.call_later(HEARTBEAT_EVERY, self._beat)

    def _stop_beating(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None


class InterceptingTransport(TransportFactory):
    """Opens the connection's socket with a tap on it."""

    def __init__(self, tap: DeliveryParser) -> None:
        """``tap`` is for one connection."""
        self._tap = tap

    async def create(
        self,
        url: URL,
        **options: Any,  # noqa: ANN401 - the library's own signature
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; raises ``OSError``."""
        loop = asyncio.get_running_loop()
        provider: SSLContextProvider = options.pop("ssl_context_provider")
        context = await provider.get_context() if url.scheme == "amqps" else None
        reader = InterceptingReader(self._tap, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(
            lambda: protocol, url.host or "localhost", url.port or 0, ssl=context, **options
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
