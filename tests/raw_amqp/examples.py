"""Properties that a client library cannot read, as publishers have sent them (issue 10, no. 1)."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pika

from tests.raw_amqp.client import ACKED, open_publisher
from tests.raw_amqp.grammar import Properties, Publish, nested, string, timestamp

EXCHANGE = "adrelay.events"
LATIN = "Grüße".encode("latin-1")
Sent = tuple[str, bytes, dict[str, Any]]  # routing key, body, properties

# What pika writes without an objection, as arguments of its ``BasicProperties``.
WITH_PIKA: dict[str, dict[str, Any]] = {
    "timestamp in milliseconds": {"timestamp": 1732262400000},
    "timestamp in microseconds": {"timestamp": 1732262400000000},
    "timestamp in nanoseconds": {"timestamp": 1732262400000000000},
    "the largest timestamp": {"timestamp": 2**64 - 1},
    "message_id": {"message_id": LATIN},
    "long message_id": {"message_id": b"\xff" * 255},
    "correlation_id": {"correlation_id": LATIN},
    "type": {"type": LATIN},
    "content_type": {"content_type": LATIN},
    "app_id": {"app_id": LATIN},
    "cluster_id": {"cluster_id": LATIN},
    "content_encoding": {"content_encoding": LATIN},
    "reply_to": {"reply_to": LATIN},
    "header name": {"headers": {LATIN: "x"}},
    "header name in a table": {"headers": {"table": {LATIN: "x"}}},
    "header value": {"headers": {"x": LATIN}},
    "everything at once": dict.fromkeys(
        ("message_id", "correlation_id", "type", "content_type", "app_id", "reply_to"), LATIN
    )
    | {"timestamp": 2**63, "headers": {LATIN: LATIN}},
}
# What it takes raw frames to write.
RAW: dict[str, dict[str, Any]] = {
    "the largest time in a header": {"headers": ((b"at", timestamp(2**63 - 1)),)},
    "a time without a sign": {"headers": ((b"at", timestamp(2**64 - 1)),)},
    # More than Python recurses; the broker's time grows with the square of it.
    "tables in tables": {"headers": ((b"deep", nested(1500)),)},
    "a name twice": {"headers": ((b"x-death", string(b"x")), (b"x-death", nested(1100)))},
    "a text that is no UTF-8": {"headers": ((b"traceparent", string(b"\xff")),)},
    "an array of everything": {"headers": ((b"x-adrelay-key", nested(1)),)},
}
ALL = (*WITH_PIKA, *RAW)


async def send(url: str, user: str, *messages: tuple[str, str, bytes], **more: Any) -> None:
    """Publish messages, each ``(name of the example, routing key, body)``, and see them taken.

    ``more`` are further properties of each.
    """
    common = {"user_id": user, **more}
    simple = [(key, body, WITH_PIKA[name]) for name, key, body in messages if name in WITH_PIKA]
    if simple:
        await asyncio.to_thread(send_with_pika, url, simple, **common)
    raw = {name: value.encode() for name, value in common.items()}
    async with open_publisher(url) as publisher:
        answers = await publisher.publish_all(
            [
                Publish(EXCHANGE.encode(), key.encode(), Properties(**RAW[name], **raw), body)
                for name, key, body in messages
                if name in RAW
            ]
        )
    assert set(answers) <= {ACKED}, answers


def send_with_pika(url: str, messages: Sequence[Sent], **common: Any) -> None:
    """Publish with pika, confirmed and routed; raises what pika raises."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        for key, body, properties in messages:
            told = pika.BasicProperties(**common, **properties)
            channel.basic_publish(EXCHANGE, key, body, told, mandatory=True)
    finally:
        connection.close()
