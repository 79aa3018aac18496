"""``adrelay events show``: what people and programs read."""

import asyncio
from uuid import uuid4

import orjson
from aio_pika.abc import AbstractConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.resources import Resources
from infra.settings import Settings
from tests.fork_server import run_module
from tests.infra.indexing import indexed, indexing
from tests.infra.ledger import publish, report
from tests.services import environment


async def show(settings: Settings, *words: str) -> tuple[int, str, str]:
    """Run the command; gives the exit status and what it printed."""
    words = ("events", "show", *words)
    done = await asyncio.to_thread(run_module, "infra.commands", *words, env=environment(settings))
    return done.returncode, done.stdout, done.stderr


async def test_people_read_queues_and_steps_and_programs_json(
    resources: Resources, broker: AbstractConnection, engine: AsyncEngine, settings: Settings
) -> None:
    event = report(1, id=uuid4().hex, subject="\u202ereversed")
    cause = report(2, id=f"caused-{event.id}", causationid=event.id)
    async with indexing(resources):
        await publish(broker, event, cause)
        await indexed(engine, str(cause.id))
    status, printed, warned = await show(settings, str(event.id))
    assert (status, warned) == (0, "")
    assert "metrics.record  queued" in printed
    assert "accepted (confirmed): amqp user=adrelay-workers" in printed
    assert f"campaign.metrics_reported.v1  caused-{event.id}" in printed
    assert "\u202e" not in printed
    status, printed, _ = await show(settings, "--subject", "\u202ereversed", "--json")
    (line,) = printed.splitlines()
    assert (status, orjson.loads(line)["id"]) == (0, event.id)


async def test_an_unknown_event_exits_with_1_and_says_how_far_the_index_is(
    resources: Resources, settings: Settings
) -> None:
    status, printed, warned = await show(settings, uuid4().hex)
    assert (status, printed) == (1, "")
    assert "has not been indexed yet" in warned
    assert "nothing is known" in warned
    assert resources.settings == settings
