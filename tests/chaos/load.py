"""The load generator: uniquely numbered events over AMQP and HTTP, at a steady pace."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache

import aiohttp
import orjson

from events.envelope import encode
from infra.amqp.message import Message, build_message
from infra.amqp.publisher import Publisher
from infra.amqp.topology import EVENTS_EXCHANGE
from infra.errors import PublishFailed, PublishUnknown
from tests.chaos.fate import Fate, fate
from tests.chaos.history import Answer, History, Sent, Way
from tests.chaos.patience import Patience
from tests.infra.ledger import report

BURST = 20  # events at once on each way
PAUSE = 0.15  # seconds between bursts
TICK = 0.05  # seconds between bursts of a stream
PATIENCE = 2.0  # seconds for a confirm
TWICE = 7  # every so many events are sent twice on purpose
CONTENT = {"Content-Type": "application/cloudevents+json"}
KEY = "campaign.metrics_reported.v1.claude"


@cache
def body_of(number: int) -> bytes:
    """Write an event, the same bytes each time; where it must be invalid, a count is negative."""
    written = encode(report(number))
    if fate(number) is not Fate.INVALID:
        return written
    event = orjson.loads(written)
    event["data"]["clicks"] = -1
    return orjson.dumps(event)


class Load:
    """Sends and remembers."""

    def __init__(
        self, history: History, publisher: Publisher, http: aiohttp.ClientSession, key: str
    ) -> None:
        self.history = history
        self.statuses: Counter[int] = Counter()  # of the HTTP answers
        self._publisher = publisher
        self._http = http
        self._headers = {"X-API-Key": key, **CONTENT}

    @asynccontextmanager
    async def flowing(self, *ways: Way) -> AsyncIterator[None]:
        """Send on these ways (both, if none is named) for the length of a block."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._flow(way, stop)) for way in ways or tuple(Way)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    @asynccontextmanager
    async def streaming(self, rate: float) -> AsyncIterator[None]:
        """Publish ``rate`` events a second over AMQP for the length of a block."""
        stop = asyncio.Event()
        task = asyncio.create_task(self._stream(rate, stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def _stream(self, rate: float, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0
        while not stop.is_set():
            # What a slow moment has held up is made up for, so that the rate is kept.
            due = int((loop.time() - began) * rate) - sent
            await self.burst(Way.AMQP, due)
            sent += due
            await asyncio.sleep(TICK)

    async def insist(self, seconds: float) -> None:
        """Send every other event of unknown fate again until it is taken; the rest stays unknown.

        So both kinds of client are there: who repeats, and who gives up. Fails once nothing
        more has been taken for ``seconds``.
        """
        patience = Patience(seconds)
        while again := [s for s in self.history.having(Answer.UNKNOWN) if s.number % 2]:
            left = len(again)
            assert patience.lasts(left), f"none of {left} is taken in {seconds:.0f} s"
            self.history.resent += len(again)
            await self._publish([s for s in again if s.way is Way.AMQP])
            lost = [s for s in again if s.way is Way.HTTP]
            for start in range(0, len(lost), BURST):
                await self._post(lost[start : start + BURST])
            await asyncio.sleep(PAUSE)

    async def burst(self, way: Way, count: int = BURST) -> list[Sent]:
        """Send fresh events at once."""
        sent = [self.history.send(n, way) for n in self.history.numbers(count)]
        await (self._publish(sent) if way is Way.AMQP else self._post(sent))
        return sent

    async def _flow(self, way: Way, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.burst(way)
            await asyncio.sleep(PAUSE)

    async def _publish(self, sent: Sequence[Sent]) -> None:
        again = [s for s in sent if s.number % TWICE == 0]
        wanted = [*sent, *again]
        messages = [_message(s.number) for s in wanted]
        verdicts = await self._publisher.publish_all(messages, timeout=PATIENCE)
        self.history.note(zip(wanted, map(_answer, verdicts), strict=True))

    async def _post(self, sent: Sequence[Sent]) -> None:
        await asyncio.gather(*(self._post_one(s) for s in sent))

    async def _post_one(self, sent: Sent) -> None:
        for _ in range(2 if sent.number % TWICE == 0 else 1):
            self.history.note([(sent, await self._answer_of(body_of(sent.number)))])

    async def _answer_of(self, body: bytes) -> Answer:
        path = "/api/v1/events"
        try:
            async with self._http.post(path, data=body, headers=self._headers) as answer:
                self.statuses[answer.status] += 1
                if answer.status == 503:
                    # The confirm may have come too late: it says "try again", not "no".
                    assert "Retry-After" in answer.headers
                    return Answer.UNKNOWN
                assert answer.status in (202, 400), await answer.text()
                return Answer.OK if answer.status == 202 else Answer.REFUSED
        except (aiohttp.ClientError, TimeoutError):
            return Answer.UNKNOWN


def _message(number: int) -> Message:
    body = body_of(number)
    if fate(number) is Fate.INVALID:
        return Message(
            EVENTS_EXCHANGE, KEY, body, f"e-{number}", content_type=CONTENT["Content-Type"]
        )
    return build_message(report(number))


def _answer(verdict: PublishFailed | None) -> Answer:
    if verdict is None:
        return Answer.OK
    return Answer.UNKNOWN if isinstance(verdict, PublishUnknown) else Answer.REFUSED
