"""Servers that stay up for a whole test module, on an event loop in a thread of their own.

A test's own loop ends with the test, and starting an ingress or a console takes longer than most
tests.
"""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
TIMEOUT = 60.0  # seconds to start or to stop


class ServerThread:
    """Keeps asynchronous context managers open until ``close``."""

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="servers")
        self._thread.start()
        self._open = AsyncExitStack()

    def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Open a context manager; gives what it yields."""
        entering = self._open.enter_async_context(manager)
        return asyncio.run_coroutine_threadsafe(entering, self._loop).result(TIMEOUT)

    def close(self) -> None:
        """Close all of them, the last one first, and end the thread."""
        try:
            asyncio.run_coroutine_threadsafe(self._open.aclose(), self._loop).result(TIMEOUT)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
