"""``GET /live?page=``: live values as server-sent events (WHATWG HTML, section 9.2).

One message every two seconds, ``{"queue.sync.gemini.waiting": "5,904"}``: the values of the frame
and those of the page, formatted once for all browsers that look at it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import orjson
from aiohttp import web

from infra.errors import Outage
from infra.web.errors import HttpError, unavailable
from workers.ops.authentication import admit
from workers.ops.frame import frame_live
from workers.ops.request import ConsoleRequest
from workers.ops.sampler import INTERVAL, Sample, Sampler
from workers.ops.state import ConsoleState

MAX_STREAMS = 100  # of a process
CHECK_INTERVAL = 10.0  # seconds between two looks whether the session is good
WAIT = 2 * INTERVAL  # seconds until a stream without a new sample sends a comment
HEADERS = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}

# Formats the live values of a page from the samples of the last five minutes, newest last.
LiveValues = Callable[[Sampler], Mapping[str, str]]


class LiveStreams:
    """The open streams of a process, and the messages that they share."""

    def __init__(self, pages: Mapping[str, LiveValues]) -> None:
        """Take the functions of the pages, by the page's name."""
        self._pages = pages
        self._messages: dict[str, tuple[int, bytes]] = {}
        self._open = 0

    async def serve(self, request: ConsoleRequest) -> web.StreamResponse:
        """Send messages until the browser goes, the session ends or the process drains."""
        if self._open >= MAX_STREAMS:
            raise unavailable("Too many pages are open. This one can be reloaded by hand.")
        page = request.query.get("page", "")
        response = web.StreamResponse(headers=HEADERS)
        self._open += 1
        try:
            await response.prepare(request.web)
            with contextlib.suppress(ConnectionResetError, HttpError, Outage):
                await self._send(request, page, response)
        finally:
            self._open -= 1
        return response

    async def _send(self, request: ConsoleRequest, page: str, response: web.StreamResponse) -> None:
        state, seen, loop = request.state, 0, asyncio.get_running_loop()
        check_at = loop.time() + CHECK_INTERVAL
        while not state.draining.is_set():
            if loop.time() >= check_at:
                if not await _is_good(state, request):
                    return
                check_at = loop.time() + CHECK_INTERVAL
            sample = await state.sampler.next_after(seen, WAIT)
            fresh = sample.number > seen
            seen = sample.number
            await response.write(self._message(page, sample, state.sampler) if fresh else b":\n\n")

    def _message(self, page: str, sample: Sample, sampler: Sampler) -> bytes:
        known = self._messages.get(page)
        if known is not None and known[0] == sample.number:
            return known[1]
        own = self._pages.get(page)
        values = {**frame_live(sample), **(own(sampler) if own else {})}
        message = b"data: " + orjson.dumps(values) + b"\n\n"
        if own is not None or page == "":
            self._messages[page] = (sample.number, message)
        return message


async def _is_good(state: ConsoleState, request: ConsoleRequest) -> bool:
    session = await state.sessions.find(request.session.id, touch=False)
    if session is None:
        return False
    return await admit(state, session, request.client, request.ids) is not None
