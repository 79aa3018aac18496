"""Work for the relay: its outbox, its dead-letter office, and what others give the office."""

from uuid import uuid4

from events.envelope import now
from infra.amqp import topology
from infra.amqp.message import Message, build_message
from infra.messaging import outbox
from infra.messaging.headers import ERROR_CLASS, LAST_FAILED, REASON, STAGE
from infra.security.operation_id import create_operation_id
from tests.chaos.stage import Stage
from tests.chaos.workloads.base import COUNT, Queued
from tests.chaos.workloads.metrics import check_sum, deltas
from tests.handlers.samples import create, put, running
from workers.metrics import SUBSCRIPTIONS as METRICS
from workers.relay import SUBSCRIPTIONS as OFFICE

BAD = 4


class Outbox:
    """Rows of the outbox; the reader of what they became adds each of them once."""

    module = "workers.relay"

    def __init__(self) -> None:
        self.campaign = running()

    async def between(self, stage: Stage) -> None:
        """Nothing goes on."""

    async def done(self, stage: Stage) -> bool:
        return await stage.count("select count(*) from outbox") == 0

    async def send(self, stage: Stage) -> None:
        await put(stage.resources.engine, self.campaign)
        stage.sent += deltas(self.campaign)
        async with stage.resources.engine.begin() as tx:
            await outbox.add(tx, [build_message(event) for event in stage.sent])

    async def check(self, stage: Stage) -> None:
        assert (await stage.seen()).keys() == {event.id for event in stage.sent}
        await stage.consume(METRICS[0], COUNT)
        await check_sum(stage, self.campaign)


class Office(Queued):
    """Dead letters to be filed, and the operations that they were for."""

    module, queue = "workers.relay", "campaigns.apply.dead"

    async def send(self, stage: Stage) -> None:
        # Only what the API was asked for is an operation, and has an id of that form.
        stage.sent += [
            create(uuid4(), id=create_operation_id(bytes(32), None)) for _ in range(COUNT)
        ]
        at = now().isoformat()
        died = {REASON: "poison", ERROR_CLASS: "POISON", STAGE: "handler", LAST_FAILED: at}
        letters = [
            build_message(event)._replace(
                exchange=topology.DEAD_LETTER_EXCHANGE,
                routing_key="campaigns.apply",
                headers=died,
            )
            for event in stage.sent
        ]
        assert not any(await stage.resources.publisher.publish_all(letters))

    async def check(self, stage: Stage) -> None:
        ids = sorted(event.id for event in stage.sent)
        rows = await stage.rows("select event_id, error_class, state from dead_letters order by 1")
        assert rows == [(id_, "POISON", "open") for id_ in ids]
        assert await stage.operations("dead") == ids


class Spoiled:
    """Another worker's work, and messages among it that must be dead letters, each once."""

    def __init__(self, work: Queued) -> None:
        self.module = work.module
        self.work = work

    async def send(self, stage: Stage) -> None:
        await self.work.send(stage)
        bad = [Message("", self.work.queue, b"{}", f"bad-{n}") for n in range(BAD)]
        assert not any(await stage.resources.publisher.publish_all(bad))

    async def between(self, stage: Stage) -> None:
        await self.work.between(stage)

    async def done(self, stage: Stage) -> bool:
        return await self.work.done(stage)

    async def check(self, stage: Stage) -> None:
        await self.work.check(stage)
        office = next(one for one in OFFICE if one.queue == topology.dead_queue(self.work.queue))
        # Who died before the ack has made dead letters that are made once more.
        deaths = await stage.waiting(office.queue)
        assert deaths > BAD
        await stage.consume(office, deaths)
        letters = await stage.rows("select message_id, error_class from dead_letters order by 1")
        assert letters == [(f"bad-{n}", "UNKNOWN_TYPE") for n in range(BAD)]
