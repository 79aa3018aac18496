"""Tasks that run beside everything else, and must not end unseen.

A task that ends with an exception ends the process, which says why and is started afresh: a
process whose outbox writer has died in silence looks healthy and is not.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any


class BackgroundTasks:
    """Starts the background tasks of a process and remembers the first that fails."""

    def __init__(self) -> None:
        """Begin without tasks."""
        self._failed = asyncio.Event()
        self._failure: BaseException | None = None
        self.failed_task = ""

    def start(self, running: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task that may end well or be cancelled; ``name`` says in logs what it does."""
        task = asyncio.create_task(running, name=name)
        task.add_done_callback(self._note)
        return task

    async def wait_for_failure(self) -> None:
        """Wait until a task fails; raises what it raised."""
        await self._failed.wait()
        if self._failure is not None:
            raise self._failure

    def _note(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._failed.is_set():
            return
        self._failure = task.exception()
        if self._failure is not None:
            self.failed_task = task.get_name()
            self._failed.set()
