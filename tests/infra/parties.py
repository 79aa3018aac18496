"""Users of the broker who act in a test, and the upstream system that is a registered publisher."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import aio_pika
import pytest
from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignCreateRequested
from events.envelope import Event, encode
from infra.amqp import topology
from infra.amqp.permissions import UPSTREAM_USER
from infra.settings import Settings
from infra.storage.publishers import RegisteredPublisher, put_publisher
from infra.storage.users import UserRow, insert_users
from schemas.users import User
from tests.services import url_as

METRICS = "campaign.metrics_reported.v1.claude"
CREATE = "campaign.create_requested.v1"
SOURCE = "urn:acme:crm"
OWNER = UUID("5f0c9ad4-3a55-4c0e-8a3e-6a1f1a0c4711")
CREATION = {
    "name": "Spring",
    "budget": 100,
    "platform": "claude",
    "targeting": {"interests": ["tea"], "age_range": [25, 45]},
}

Act = Callable[[AbstractChannel], Awaitable[Any]]


async def register(engine: AsyncEngine, *sources: str) -> None:
    """Make the upstream user a publisher for sources, in the name of an account."""
    async with engine.begin() as tx:
        account = User(id=OWNER, email="crm@example.com", role="manager")
        await insert_users(tx, [UserRow(account, "no password")])
        await put_publisher(tx, RegisteredPublisher(UPSTREAM_USER, frozenset(sources), OWNER))


def create_command(**fields: Any) -> CampaignCreateRequested:
    """Ask for a campaign as an upstream system does."""
    return CampaignCreateRequested(**{"id": "w-1", "source": SOURCE, "data": CREATION} | fields)


class Party:
    """A user of the broker with a connection of its own."""

    def __init__(self, user: str, connection: AbstractConnection) -> None:
        """Act as ``user``."""
        self.user = user
        self.connection = connection

    async def publish(self, event: Event | bytes, key: str, **properties: Any) -> None:
        """Publish as an upstream system does; raises what the broker refuses it with."""
        body = event if isinstance(event, bytes) else encode(event)
        told = {"user_id": self.user, "content_type": "application/cloudevents+json"}
        channel = await self.connection.channel()
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE, ensure=False)
        await exchange.publish(Message(body, **{**told, **properties}), key, timeout=10)
        await channel.close()

    async def may(self, act: Act) -> bool:
        """Tell whether the broker lets it do something; other refusals are raised."""
        channel = await self.connection.channel()
        try:
            await act(channel)
        except ChannelAccessRefused:
            return False
        await channel.close()
        return True

    async def may_publish(self, exchange: str, key: str) -> bool:
        """Tell whether the broker takes a message of its."""

        async def publish(channel: AbstractChannel) -> None:
            publishing = await channel.get_exchange(exchange, ensure=False)
            message = Message(b"{}", user_id=self.user)
            await publishing.publish(message, key, mandatory=False, timeout=10)

        return await self.may(publish)


def party(user: str) -> Any:
    """Make the fixture of a user."""

    @pytest.fixture
    async def connected(settings: Settings) -> AsyncIterator[Party]:
        connection = await aio_pika.connect(url_as(user, settings.rabbitmq_url), timeout=10)
        async with connection:
            yield Party(user, connection)

    return connected
