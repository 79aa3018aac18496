"""Request and reply over the real broker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection
from pamqp.common import FieldTable

from events import LoginRequested
from events.envelope import Event
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.amqp.message import Message, build_message
from infra.amqp.permissions import INGRESS_USER
from infra.amqp.rpc import RpcClient
from infra.errors import Outage, Permanent
from infra.messaging.consumer import Consumer
from infra.messaging.context import Context
from infra.messaging.subscription import Handler, Subscription
from infra.resources import Resources
from infra.settings import Settings
from tests.services import as_user


def request(sealed: str = "abc") -> Message:
    event = LoginRequested(source="urn:adrelay:api", data={"sealed": sealed})
    return build_message(event, topology.REQUEST_EXCHANGE)


async def echo(events: list[LoginRequested], ctx: Context) -> Sequence[Event]:
    for event in events:
        if event.data.sealed == "bad":
            raise Permanent("no", events=[event])
        ctx.reply(event, {"status": 200, "data": {"echo": event.data.sealed}})
    return ()


@asynccontextmanager
async def answering(resources: Resources, handler: Handler[Any]) -> AsyncIterator[None]:
    subscription = Subscription("auth.session", (LoginRequested,), handler)
    link = BrokerConnection(resources.settings, "test:answer")
    stop = asyncio.Event()
    task = asyncio.create_task(Consumer(subscription, resources, link, asyncio.Lock()).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task
        await link.close()


async def test_every_request_gets_its_own_answer(resources: Resources) -> None:
    async with (
        answering(resources, echo),
        RpcClient(as_user(INGRESS_USER, resources.settings), "test") as requester,
    ):
        asked = [requester.call(request(f"x{n}"), 10) for n in range(50)]
        answers: list[Any] = await asyncio.gather(*asked)
    assert [answer["data"]["echo"] for answer in answers] == [f"x{n}" for n in range(50)]


async def test_a_request_that_fails_is_answered_and_leaves_nothing_behind(
    resources: Resources,
) -> None:
    async with (
        answering(resources, echo),
        RpcClient(as_user(INGRESS_USER, resources.settings), "test") as requester,
    ):
        answers = await asyncio.gather(
            requester.call(request("bad"), 10), requester.call(request("good"), 10)
        )
    assert [answer["status"] for answer in answers] == [503, 200]


async def test_nobody_answers_in_time(settings: Settings) -> None:
    async with RpcClient(as_user(INGRESS_USER, settings), "test") as requester:
        with pytest.raises(Outage, match="no worker has answered in time"):
            await requester.call(request(), 0.2)


async def test_a_request_expires_with_its_deadline_and_a_late_worker_never_sees_it(
    resources: Resources,
) -> None:
    seen: list[str] = []

    async def note(events: list[LoginRequested], ctx: Context) -> Sequence[Event]:
        seen.extend(event.data.sealed for event in events)
        return await echo(events, ctx)

    async with RpcClient(as_user(INGRESS_USER, resources.settings), "test") as requester:
        with pytest.raises(Outage):
            await requester.call(request("old"), 0.2)
        async with answering(resources, note):
            answer = await requester.call(request("new"), 10)
    assert answer["data"] == {"echo": "new"}
    assert seen == ["new"]


async def test_a_channel_that_is_never_answered_does_not_spoil_the_next(
    resources: Resources,
) -> None:
    async with (
        answering(resources, echo),
        RpcClient(as_user(INGRESS_USER, resources.settings), "test") as requester,
    ):
        await requester.call(request(), 10)
        silent = requester._channel
        assert silent is not None
        silent.write_queue = asyncio.Queue()  # What is written there reaches nobody.
        with pytest.raises(Outage):
            await requester.call(request(), 0.3)
        assert (await requester.call(request(), 10))["status"] == 200
        assert requester._channel is not silent


async def test_a_request_that_the_broker_refuses_does_not_spoil_the_next(
    resources: Resources, broker: AbstractConnection
) -> None:
    refused = Message(topology.REQUEST_EXCHANGE, "full", b"", "m-1")
    # A classic one, because the policy for foreign queues does not reach it.
    arguments: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with (
        answering(resources, echo),
        broker.channel() as channel,
        RpcClient(as_user(INGRESS_USER, resources.settings), "test") as requester,
    ):
        full = await channel.declare_queue("full", durable=True, arguments=arguments)
        await full.bind(topology.REQUEST_EXCHANGE, "full")
        for _ in range(5):
            with pytest.raises(Outage):
                await requester.call(refused, 0.5)
        await channel.queue_delete("full")
        assert requester._channel is None, "a channel that was refused may stay so"
        assert (await requester.call(request(), 10))["status"] == 200
