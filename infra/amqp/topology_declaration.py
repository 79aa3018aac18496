"""What is declared on the broker: exchanges, queues, arguments, bindings.

The release step does it (``infra.commands.migrate``); the processes find everything there.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelPreconditionFailed
from pamqp.common import FieldTable

from infra.amqp.topology import (
    DEAD_LETTER_EXCHANGE,
    EVENT_LOG,
    EVENTS_EXCHANGE,
    HISTORY_ONLY_EVENTS,
    REQUEST_EXCHANGE,
    REQUEST_QUEUES,
    RETRY_TIERS,
    RETURN_EXCHANGE,
    UNROUTED,
    WORK_EXCHANGE,
    WORK_QUEUES,
    WorkQueue,
    dead_queue,
    retry_exchange,
)

# The broker's own net below ours: it must never be the first to give up.
DELIVERY_LIMIT = 100
# -1 would mean "no limit" on 4.x but "drop at once" on 3.10.
NO_DELIVERY_LIMIT = 1_000_000
# The retention of the event log was an argument of its queue; today it is a policy.
OLD_LOG_ARGUMENTS: Mapping[str, Any] = {"x-max-age": "7D", "x-max-length-bytes": 10 * 1024**3}
REQUEST_TTL_MS = 30_000
DECLARE_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class ExchangeDeclaration:
    """An exchange to declare."""

    name: str
    type: ExchangeType = ExchangeType.TOPIC
    internal: bool = False
    alternate: str | None = None

    @property
    def arguments(self) -> FieldTable:
        """The arguments that it is declared with."""
        return {"alternate-exchange": self.alternate} if self.alternate else {}

    @property
    def properties(self) -> dict[str, Any]:
        """The exchange as the management API and definitions spell it, without its name."""
        return {
            "type": self.type.value,
            "durable": True,
            "auto_delete": False,
            "internal": self.internal,
            "arguments": dict(self.arguments),
        }


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """A durable queue to declare, with its bindings ``(exchange, routing key)``."""

    name: str
    arguments: Mapping[str, Any]
    bindings: tuple[tuple[str, str], ...] = field(default=())

    @property
    def properties(self) -> dict[str, Any]:
        """The queue as the management API and definitions spell it, without its name."""
        return {"durable": True, "auto_delete": False, "arguments": dict(self.arguments)}


class BindingDeclaration(NamedTuple):
    """A binding of an exchange to a ``queue`` or another ``exchange``."""

    source: str
    kind: str
    destination: str
    routing_key: str


def _quorum(**arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - AMQP field values
    named = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    return {"x-queue-type": "quorum", **named}


def _work_queue(queue: WorkQueue) -> QueueDeclaration:
    return QueueDeclaration(
        queue.name,
        _quorum(
            dead_letter_exchange=DEAD_LETTER_EXCHANGE,
            dead_letter_routing_key=queue.name,
            dead_letter_strategy="at-least-once",
            overflow="reject-publish",
            delivery_limit=DELIVERY_LIMIT,
        ),
        (*((WORK_EXCHANGE, pattern) for pattern in queue.patterns), (RETURN_EXCHANGE, queue.name)),
    )


def _tier_queue(tier: str, seconds: float) -> QueueDeclaration:
    name = retry_exchange(tier)
    return QueueDeclaration(
        name,
        _quorum(
            message_ttl=int(seconds * 1000),
            dead_letter_exchange=RETURN_EXCHANGE,
            dead_letter_strategy="at-least-once",
            overflow="reject-publish",
        ),
        ((name, ""),),
    )


def exchanges() -> tuple[ExchangeDeclaration, ...]:
    """List every exchange, alternates before those that name them."""
    return (
        ExchangeDeclaration(UNROUTED, ExchangeType.FANOUT),
        ExchangeDeclaration(WORK_EXCHANGE, internal=True, alternate=UNROUTED),
        ExchangeDeclaration(EVENTS_EXCHANGE),
        ExchangeDeclaration(REQUEST_EXCHANGE),
        ExchangeDeclaration(RETURN_EXCHANGE, ExchangeType.DIRECT, alternate=UNROUTED),
        ExchangeDeclaration(DEAD_LETTER_EXCHANGE),
        *(ExchangeDeclaration(retry_exchange(tier), ExchangeType.FANOUT) for tier in RETRY_TIERS),
    )


def queues() -> tuple[QueueDeclaration, ...]:
    """List every queue with its arguments and bindings."""
    kept = _quorum(delivery_limit=NO_DELIVERY_LIMIT)
    return (
        QueueDeclaration(UNROUTED, kept, ((UNROUTED, ""),)),
        QueueDeclaration(
            EVENT_LOG,
            {"x-queue-type": "stream"},
            (
                (EVENTS_EXCHANGE, "#"),
                *((WORK_EXCHANGE, f"{fact.event_type()}.#") for fact in HISTORY_ONLY_EVENTS),
            ),
        ),
        *(_tier_queue(tier, seconds) for tier, seconds in RETRY_TIERS.items()),
        *(
            QueueDeclaration(dead_queue(q.name), kept, ((DEAD_LETTER_EXCHANGE, q.name),))
            for q in WORK_QUEUES
        ),
        *(_work_queue(queue) for queue in WORK_QUEUES),
        *(
            QueueDeclaration(
                queue.name,
                _quorum(message_ttl=REQUEST_TTL_MS, delivery_limit=DELIVERY_LIMIT),
                tuple((REQUEST_EXCHANGE, event.event_type()) for event in queue.events),
            )
            for queue in REQUEST_QUEUES
        ),
    )


def bindings() -> tuple[BindingDeclaration, ...]:
    """List every binding: that of the work exchange, then those of the queues."""
    to_work = BindingDeclaration(EVENTS_EXCHANGE, "exchange", WORK_EXCHANGE, "#")
    to_queues = (
        BindingDeclaration(source, "queue", queue.name, key)
        for queue in queues()
        for source, key in queue.bindings
    )
    return (to_work, *to_queues)


async def declare(connection: AbstractConnection) -> None:
    """Declare everything on a channel of its own; idempotent.

    Raises ``aio_pika.exceptions.ChannelPreconditionFailed`` when something of that name
    exists with other arguments, ``TimeoutError`` when the broker does not answer.
    """
    async with asyncio.timeout(DECLARE_TIMEOUT * 3), connection.channel() as channel:
        for exchange in exchanges():
            await channel.declare_exchange(
                exchange.name,
                exchange.type,
                durable=True,
                internal=exchange.internal,
                arguments=exchange.arguments,
                timeout=DECLARE_TIMEOUT,
            )
        work = await channel.get_exchange(WORK_EXCHANGE, ensure=False)
        await work.bind(EVENTS_EXCHANGE, "#", timeout=DECLARE_TIMEOUT)
        log = await _declare_event_log(connection)
        for queue in queues():
            await _declare_queue(channel, log if queue.name == EVENT_LOG else queue)


async def _declare_event_log(connection: AbstractConnection) -> QueueDeclaration:
    """Declare the event log, and find out whether it has the arguments of an earlier version."""
    (log,) = (queue for queue in queues() if queue.name == EVENT_LOG)
    try:
        async with connection.channel() as channel:
            await _declare_queue(channel, log)
    except ChannelPreconditionFailed:
        return replace(log, arguments={**log.arguments, **OLD_LOG_ARGUMENTS})
    return log


def drop_old_arguments(queue: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the arguments of a listed queue without those that only earlier versions declare."""
    arguments: Mapping[str, Any] = queue["arguments"]
    if queue["name"] != EVENT_LOG:
        return arguments
    items = OLD_LOG_ARGUMENTS.items()
    if any(arguments.get(name) != value for name, value in items):
        return arguments
    return {name: arguments[name] for name in arguments if name not in OLD_LOG_ARGUMENTS}


async def _declare_queue(channel: AbstractChannel, queue: QueueDeclaration) -> None:
    declared = await channel.declare_queue(
        queue.name,
        durable=True,
        arguments=dict(queue.arguments),
        timeout=DECLARE_TIMEOUT,
    )
    for exchange, routing_key in queue.bindings:
        await declared.bind(exchange, routing_key, timeout=DECLARE_TIMEOUT)
