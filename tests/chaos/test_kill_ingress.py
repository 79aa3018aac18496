"""kill -9 and SIGTERM of the ingress between taking an event and saying so: it counts once."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from events.base import Event, encode
from tests.chaos.dying import trace_of
from tests.chaos.load import CONTENT
from tests.chaos.stage import Stage
from tests.chaos.workloads import COUNT, check_sum, deltas
from tests.chaos.world import add_publisher
from tests.handlers.samples import put, running
from tests.processes import Process
from workers.metrics import SUBSCRIPTIONS

pytestmark = pytest.mark.timeout(60)

MODULE = "workers.ingress"
# Without a broker, what is accepted goes to the outbox.
NO_BROKER = {"rabbitmq_url": SecretStr("amqp://guest:guest@127.0.0.1:1/"), "broker_timeout": 0.5}
NTH = 7


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize(
    ("point", "changes"),
    [
        ("confirm-answer", {}),
        pytest.param("stash-commit", NO_BROKER, marks=pytest.mark.long),
        pytest.param("stash-answer", NO_BROKER, marks=pytest.mark.long),
    ],
)
async def test_what_a_dying_ingress_took_counts_once_when_its_sender_repeats_it(
    stage: Stage, point: str, changes: Mapping[str, Any], number: signal.Signals
) -> None:
    campaign = running()
    await put(stage.resources.engine, campaign)
    async with stage.resources.engine.begin() as tx:
        headers = {"X-API-Key": await add_publisher(tx), **CONTENT}
    events = deltas(campaign)
    nth = 1 if point == "stash-commit" else NTH  # Requests share the outbox's transactions.
    async with stage.dying(MODULE, point, nth, number, **changes) as dying:
        await dying.ready()
        answered = await _post(dying, events, headers)
        code = await dying.ended(30)
        assert trace_of(point, nth) in dying.output
    if number is signal.SIGKILL:
        assert code == -signal.SIGKILL
        assert len(answered) < COUNT, "nobody missed an answer"
    else:
        # What was in flight is answered.
        assert code == 0
        assert len(answered) >= nth
    async with stage.healthy(MODULE) as healthy:
        rest = [event for event in events if event.id not in answered]
        assert len(await _post(healthy, rest, headers)) == len(rest)
    await stage.relay()
    await stage.consume(SUBSCRIPTIONS[0], COUNT)
    await check_sum(stage, campaign)


async def _post(process: Process, events: Sequence[Event], headers: Mapping[str, str]) -> set[str]:
    """Send events all at once; gives the ids of those that were answered with 202."""
    base = f"http://127.0.0.1:{process.port}"
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(base, timeout=timeout, headers=headers) as http:

        async def post(event: Event) -> bool:
            try:
                async with http.post("/api/v1/events", data=encode(event)) as answer:
                    assert answer.status == 202, await answer.text()
                    return True
            except aiohttp.ClientError:
                return False

        answers = await asyncio.gather(*map(post, events))
    return {event.id for event, taken in zip(events, answers, strict=True) if taken}
