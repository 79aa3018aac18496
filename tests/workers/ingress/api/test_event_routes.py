"""One event over five routes in three formats is one event: it takes effect once."""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

import tests.events
from events import UPSTREAM_EVENTS
from events.envelope import Event
from infra.amqp import topology
from infra.amqp.permissions import UPSTREAM_USER
from infra.messaging.context import Context
from infra.messaging.subscription import Subscription
from infra.settings import Settings
from infra.storage.publishers import RegisteredPublisher, put_publisher
from tests.infra.ledger import WRITE as INSERT
from tests.infra.ledger import count, create, depth, until, written
from tests.services import url_as
from tests.workers.ingress.conftest import SOURCE, MakeKey, Person, body_of, working

PATH = "/api/v1/events"
FIXTURES = Path(tests.events.__file__).parent / "fixtures"
QUEUES = {"campaigns.apply": UPSTREAM_EVENTS[:3], "metrics.record": UPSTREAM_EVENTS[3:]}
CAMEL = {"age_range": "ageRange"}
NUMBERS = {"92.481516": "92.4815160", "4.5": "45e-1", "1500.5": '"1500.500"', "1800": "1.8e3"}
Example = dict[str, Any]
WRITE = text(INSERT)


def examples() -> list[Example]:
    """Give every example of what upstream systems publish, as one source's."""
    found = []
    for cls in UPSTREAM_EVENTS:
        kind = cls.event_type()
        for name, example in json.loads((FIXTURES / f"{kind}.json").read_text()).items():
            found.append({**example, "source": SOURCE, "id": f"{kind} {name}"})
            found[-1].pop("ownerid", None)
            found[-1].pop("actorid", None)
    return found


def plain(value: Any) -> str:
    return json.dumps(value)


def turned(value: Any) -> str:
    """Write it the other way round, with space, and camelCase where it is read."""

    def turn(part: Any) -> Any:
        if isinstance(part, dict):
            return {CAMEL.get(name, name): turn(one) for name, one in reversed(part.items())}
        return [turn(one) for one in part] if isinstance(part, list) else part

    return json.dumps(turn(value), indent=2)


def respelled(value: Any) -> str:
    """Write numbers in another form, ids in capitals, and the letters of texts as escapes."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    for number, other in NUMBERS.items():
        text = text.replace(f":{number}", f":{other}")
    return text.replace('"Spring', '"\\u0053pring')


SPELLINGS: Sequence[Callable[[Any], str]] = (plain, turned, respelled)


class Doors:
    """Sends events by all doors that upstream systems have."""

    def __init__(self, client: aiohttp.ClientSession, key: str, exchange: Any) -> None:
        self._client = client
        self._key = {"X-API-Key": key}
        self._exchange = exchange

    async def _post(self, body: str, kind: str, **headers: str) -> None:
        told = {**self._key, "Content-Type": kind, **headers}
        await body_of(await self._client.post(PATH, data=body.encode(), headers=told), 202)

    async def structured(self, event: Example, spell: Callable[[Any], str]) -> None:
        await self._post(spell(event), "application/cloudevents+json")

    async def batch(self, event: Example, spell: Callable[[Any], str]) -> None:
        await self._post(f"[{spell(event)}]", "application/cloudevents-batch+json")

    async def binary(self, event: Example, spell: Callable[[Any], str]) -> None:
        told = {f"ce-{name}": str(event[name]) for name in _attributes(event)}
        await self._post(spell(event["data"]), "application/json", **told)

    async def amqp_structured(self, event: Example, spell: Callable[[Any], str]) -> None:
        await self._publish(event, spell(event), "application/cloudevents+json", {})

    async def amqp_binary(self, event: Example, spell: Callable[[Any], str]) -> None:
        told = {f"cloudEvents:{name}": str(event[name]) for name in _attributes(event)}
        await self._publish(event, spell(event["data"]), "application/json", told)

    async def _publish(self, event: Example, body: str, kind: str, headers: dict[str, Any]) -> None:
        message = Message(body.encode(), content_type=kind, user_id=UPSTREAM_USER, headers=headers)
        await self._exchange.publish(message, event["type"], timeout=10)


def _attributes(event: Example) -> list[str]:
    return [name for name in event if name not in ("data", "datacontenttype")]


async def test_an_event_by_every_door_in_every_spelling_takes_effect_once(
    client: aiohttp.ClientSession,
    make_api_key: MakeKey,
    manager: Person,
    settings: Settings,
    engine: AsyncEngine,
    broker: AbstractConnection,
) -> None:
    async def note(events: list[Any], ctx: Context) -> Sequence[Event]:
        ids = [event.id for event in events]
        await ctx.tx.execute(WRITE, {"ids": ids, "n": [0] * len(ids)})
        return ()

    async def is_drained() -> bool:
        left = [await depth(broker, queue) for queue in QUEUES]
        return sum(left) == 0 and len(await written(engine)) >= len(sent)

    await create(engine)
    async with engine.begin() as tx:
        await put_publisher(tx, RegisteredPublisher(UPSTREAM_USER, frozenset({SOURCE}), manager.id))
    connection = await aio_pika.connect(url_as(UPSTREAM_USER, settings.rabbitmq_url), timeout=10)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE, ensure=False)
        doors = Doors(client, await make_api_key(), exchange)
        ways = (
            doors.structured,
            doors.batch,
            doors.binary,
            doors.amqp_structured,
            doors.amqp_binary,
        )
        sent = examples()
        for event, way, spell in itertools.product(sent, ways, SPELLINGS):
            await way(event, spell)
        subscriptions = [Subscription(queue, events, note) for queue, events in QUEUES.items()]
        async with working(settings, *subscriptions):
            await until(is_drained)
    dead = [await depth(broker, topology.dead_queue(queue)) for queue in QUEUES]
    assert sum(dead) == 0
    assert await written(engine) == sorted(event["id"] for event in sent)
    assert await count(engine, "select count(*) from inbox") == len(sent)
