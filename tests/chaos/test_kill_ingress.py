"""kill -9 and SIGTERM of the ingress between taking an event and saying so: it counts once."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from events.envelope import Event, encode
from tests.chaos.dying import trace_of
from tests.chaos.stage import Stage
from tests.chaos.workloads.base import COUNT
from tests.chaos.workloads.metrics import check_sum, deltas
from tests.chaos.world import add_publisher
from tests.handlers.samples import put, running
from tests.processes import Process
from workers.metrics import SUBSCRIPTIONS

pytestmark = pytest.mark.timeout(60)

MODULE = "workers.ingress"
# Without a broker, what is accepted goes to the outbox.
NO_BROKER = {"rabbitmq_url": SecretStr("amqp://guest:guest@127.0.0.1:1/"), "broker_timeout": 0.5}
SINGLE, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)],
    ids=lambda number: number.name,
)
@pytest.mark.parametrize(
    ("point", "nth", "changes"),
    [
        ("confirm-answer", 7, {}),
        pytest.param("batch-answer", 1, {}, marks=pytest.mark.long),
        # Requests share the outbox's transactions.
        pytest.param("outbox-commit", 1, NO_BROKER, marks=pytest.mark.long),
        pytest.param("outbox-answer", 7, NO_BROKER, marks=pytest.mark.long),
    ],
    ids=["confirm-answer", "batch-answer", "outbox-commit", "outbox-answer"],
)
async def test_what_a_dying_ingress_took_counts_once_when_its_sender_repeats_it(
    stage: Stage, point: str, nth: int, changes: Mapping[str, Any], number: signal.Signals
) -> None:
    campaign = running()
    await put(stage.resources.engine, campaign)
    async with stage.resources.engine.begin() as tx:
        key = await add_publisher(tx)
    events = deltas(campaign)
    requests = [events] if point == "batch-answer" else [[event] for event in events]
    async with stage.dying(MODULE, point, nth, number, **changes) as dying:
        await dying.ready()
        answered = await _post(dying, key, requests)
        code = await dying.ended(30)
        assert trace_of(point, nth) in dying.output
    if number is signal.SIGKILL:
        assert code == -signal.SIGKILL
        assert len(answered) < len(requests), "nobody missed an answer"
    else:
        # What was in flight is answered.
        assert code == 0
        assert len(answered) >= nth
    async with stage.healthy(MODULE) as healthy:
        rest = [request for request in requests if request not in answered]
        assert await _post(healthy, key, rest) == rest
    await stage.relay()
    await stage.consume(SUBSCRIPTIONS[0], COUNT)
    await check_sum(stage, campaign)


async def _post(
    process: Process, key: str, requests: Sequence[Sequence[Event]]
) -> list[Sequence[Event]]:
    """Send requests all at once; gives those that were answered with 202."""
    base = f"http://127.0.0.1:{process.port}"
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(base, timeout=timeout, headers={"X-API-Key": key}) as http:

        async def post(events: Sequence[Event]) -> bool:
            bodies = [encode(event) for event in events]
            whole = len(events) > 1
            body = b"[%b]" % b",".join(bodies) if whole else bodies[0]
            kind = {"Content-Type": BATCH if whole else SINGLE}
            try:
                async with http.post("/api/v1/events", data=body, headers=kind) as answer:
                    assert answer.status == 202, await answer.text()
                    return True
            except aiohttp.ClientError:
                return False

        answers = await asyncio.gather(*map(post, requests))
    return [events for events, taken in zip(requests, answers, strict=True) if taken]
