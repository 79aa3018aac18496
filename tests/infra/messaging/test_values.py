"""Values that nothing may store, over AMQP: each is a dead letter that names its field."""

import json
from typing import Any

from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from events import UPSTREAM_EVENTS
from infra.amqp import topology
from infra.amqp.permissions import UPSTREAM_USER
from infra.resources import Resources
from tests.events.invalid_values import INVALID_VALUES, event
from tests.infra.ledger import consuming, create, headers_of, report, take, until, write, written
from tests.infra.parties import METRICS, SOURCE, Party, party, register

upstream = party(UPSTREAM_USER)
QUEUES = {
    "campaign.metrics_reported.v1": "metrics.record",
    "campaign.create_requested.v1": "campaigns.apply",
    "campaign.update_requested.v1": "campaigns.apply",
}


async def test_an_impossible_value_is_a_dead_letter_with_its_field_and_its_neighbours_go_on(
    upstream: Party, resources: Resources, broker: AbstractConnection, engine: AsyncEngine
) -> None:
    await create(engine)
    await register(engine, SOURCE)

    async def note(events: list[Any], ctx: Any) -> tuple[()]:
        await write(ctx.tx, events)
        return ()

    expected: dict[str, list[str]] = {"metrics.record": [], "campaigns.apply": []}
    for number, (kind, field, changes) in enumerate(INVALID_VALUES):
        body = event(kind, f"v-{number}", SOURCE, changes).encode()
        await upstream.publish(body, kind)
        expected[QUEUES[kind]].append(field)
    await upstream.publish(report(1, source=SOURCE), METRICS)
    async with (
        consuming(resources, note),
        consuming(resources, note, queue="campaigns.apply", events=UPSTREAM_EVENTS[:3]),
    ):
        for queue, fields in expected.items():
            for field in fields:
                dead = await take(broker, topology.dead_queue(queue))
                told = headers_of(dead)
                assert told["error-class"] == "INVALID_EVENT"
                assert str(told["reason"]).startswith(f"{field}"), (field, told["reason"])
                assert json.loads(dead.body)["id"]

        async def good_one() -> bool:
            return await written(engine) == ["e-1"]

        await until(good_one)
