"""What we use of aiormq and aio-pika beyond their documented interfaces: here and nowhere else.

Publishing goes past aiormq's own path (``infra.amqp.publish_channel``), so its books of confirms
have to be kept here in its stead, and deliveries are taken off the socket
(``infra.amqp.delivery_parser``). A release that changes any of this could confirm the wrong
message without an error, so the minor release is pinned in pyproject.toml, and checked again where
a connection is made.
"""

import asyncio
from importlib.metadata import version
from typing import Any

import aiormq
from aio_pika import Connection
from aio_pika.abc import AbstractConnection, ConnectionParameter
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel

LARGE_WRITE_BYTES = 1024 * 1024  # of which the writer is given one at a time
TESTED = "7.2."  # releases of aiormq
CHANNEL_ATTRIBUTES = {
    "confirmations": dict,
    "delivery_tag": int,
    "max_content_size": int,
    "message_id_delivery_tag": dict,
    "number": int,
    "write_queue": asyncio.Queue,
}


class UntestedClientLibrary(Exception):
    """The installed aiormq is not the one that this was tested with; the text says what differs."""


def check_version(installed: str | None = None) -> None:
    """Raise ``UntestedClientLibrary`` unless aiormq is of the tested minor release."""
    installed = installed or version("aiormq")
    if not installed.startswith(TESTED):
        raise UntestedClientLibrary(
            f"aiormq {installed} is installed, but Adrelay is tested with {TESTED}x:"
            " install what requirements/run.txt names"
        )


def check_channel(channel: Channel) -> None:
    """Raise ``UntestedClientLibrary`` unless a channel has what we use of it."""
    for name, kind in CHANNEL_ATTRIBUTES.items():
        if not isinstance(getattr(channel, name, None), kind):
            raise UntestedClientLibrary(
                f"aiormq's channel has no {name} of the type {kind.__name__}"
            )


class InterceptingConnection(Connection):
    """An aio-pika connection that accepts a transport factory for its aiormq connection."""

    PARAMETERS = (
        *Connection.PARAMETERS,
        ConnectionParameter(
            name="transport_factory", parser=lambda factory: factory, default=None, is_kwarg=True
        ),
    )


def get_aiormq_connection(
    connection: AbstractConnection | None,
) -> aiormq.abc.AbstractConnection | None:
    """Give aiormq's connection, if it is open; aio-pika's does not notice when it is lost."""
    transport = connection.transport if connection is not None else None
    if transport is None or transport.connection.is_closed:
        return None
    return transport.connection


def get_in_flight(channel: Channel) -> dict[str, int]:
    """Give the delivery tags of publishes that wait for their confirm, by message id.

    An id may be used again when it is removed.
    """
    return channel.message_id_delivery_tag


def register_publish(channel: Channel, name: str, answer: "asyncio.Future[Any]") -> None:
    """Have aiormq give ``answer`` the confirm of the next publish, whose message id is ``name``."""
    channel.delivery_tag += 1
    channel.confirmations[channel.delivery_tag] = answer
    channel.message_id_delivery_tag[name] = channel.delivery_tag


def write(channel: Channel, payload: bytes) -> bool:
    """Hand bytes to the connection's writer; False while it has too much to write already."""
    if len(payload) > LARGE_WRITE_BYTES and channel.write_queue.qsize():
        return False
    try:
        channel.write_queue.put_nowait(ChannelFrame(payload=payload, should_close=False))
    except asyncio.QueueFull:
        return False
    return True
