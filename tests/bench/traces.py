"""What traces cost: the metrics worker with traces off, at 1%, and with every event sampled.

A collector in the bench's own process takes the spans. What is compared is the worker's CPU time
for an event: at 1% it may be at most 3% more than without traces.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from infra.amqp import topology
from infra.amqp.message import Message, build_message
from schemas.trace_context import TraceContext
from tests.bench.consume import Line, ours, watch
from tests.bench.events import WINDOW, report
from tests.bench.results import Result
from tests.bench.stage import Stage
from tests.collector import collecting

EVENTS = 60_000
# How many of the events are sampled, and whether the worker exports spans.
CASES = {
    "traces off": (0.01, False),
    "traces 1%": (0.01, True),
    "traces 100%": (1.0, True),
}


async def measure(stage: Stage, line: Line, share: float, *, exports: bool) -> list[Result]:
    """Measure one line once."""
    await stage.clear()
    await _fill(stage, line.events, share)
    async with collecting() as collector:
        traced = {"TRACES_ENDPOINT": collector.url} if exports else {}
        line = replace(line, variables={**line.variables, **traced})
        return await watch(stage, line)


def steps(share: float) -> list[tuple[str, Callable[[Stage], Awaitable[list[Result]]]]]:
    """List what is measured in a round."""
    events = max(1000, int(EVENTS * share))
    return [
        (name, partial(measure, line=ours(name, events, "record"), share=part, exports=exports))
        for name, (part, exports) in CASES.items()
    ]


async def _fill(stage: Stage, count: int, share: float) -> None:
    """Publish reports, each in a trace of its own, of which ``share`` (0 to 1) are sampled."""
    chance = random.Random(count)
    messages: list[Message] = []
    for number in range(count):
        flags = "01" if chance.random() < share else "00"
        trace = f"00-{chance.getrandbits(128):032x}-{chance.getrandbits(64):016x}-{flags}"
        event = report(number).model_copy(update=TraceContext(trace).attributes)
        messages.append(build_message(event, topology.EVENTS_EXCHANGE))
        if len(messages) == WINDOW or number + 1 == count:
            failed = [error for error in await stage.publisher.publish_all(messages) if error]
            if failed:
                raise failed[0]
            messages.clear()
