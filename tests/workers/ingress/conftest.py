"""The ingress on a real port, people and keys that may use it, and what it published."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import orjson
import pytest
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.amqp.permissions import INGRESS_USER
from infra.messaging.consumer import Consumer
from infra.messaging.subscription import AnySubscription
from infra.resources import open_resources
from infra.security.access_tokens import TokenSigner
from infra.settings import Settings
from infra.storage.api_keys import generate_api_key, insert_api_key
from infra.storage.campaigns import CampaignRow, insert_campaigns
from infra.storage.users import UserRow, insert_users
from schemas.campaigns import Targeting
from schemas.users import Role, User
from tests.server_thread import ServerThread
from tests.services import as_user
from workers.ingress.app import open_ingress

SOURCE = "urn:acme:crm"
DRAFT: Mapping[str, Any] = {
    "name": "Spring",
    "budget": 1250.5,
    "platform": "claude",
    "targeting": {"interests": ["tea", "bicycles"], "age_range": [25, 45]},
}
PATIENCE = 10.0  # seconds

MakeKey = Callable[..., Awaitable[str]]


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[str]:
    """Serve in this loop on a port of its own; yields the address."""
    own = as_user(INGRESS_USER, settings).model_copy(update={"port": 0})
    async with open_ingress(own, asyncio.Event()) as (port, _):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def calling(address: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Make a client of an address."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(address, timeout=timeout) as client:
        yield client


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve in this loop on a port of its own; yields a client of it."""
    async with listening(settings) as address, calling(address) as client:
        yield client


@asynccontextmanager
async def working(settings: Settings, *subscriptions: AnySubscription) -> AsyncIterator[None]:
    """Run the consumers of a worker in this loop."""
    stop, alone = asyncio.Event(), asyncio.Lock()
    async with open_resources(settings, "worker") as resources:
        link = BrokerConnection(settings, "worker:consume")
        tasks = [
            asyncio.create_task(Consumer(subscription, resources, link, alone).run(stop))
            for subscription in subscriptions
        ]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)
            await link.close()


@pytest.fixture(scope="module")
def module_address(settings: Settings, servers: ServerThread) -> str:
    return servers.enter(listening(settings))


@pytest.fixture
async def client(module_address: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the module's ingress."""
    async with calling(module_address) as client:
        yield client


@pytest.fixture
async def hasty(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of an ingress that does not wait for long."""
    async with serving(settings.model_copy(update={"reply_deadline": 0.5})) as client:
        yield client


@dataclass(frozen=True)
class Person:
    """An account with a token."""

    id: UUID
    email: str
    headers: dict[str, str]


MakePerson = Callable[[Role], Awaitable[Person]]


@pytest.fixture
async def make_person(settings: Settings, engine: AsyncEngine) -> MakePerson:
    async def make(role: Role) -> Person:
        user = User(id=uuid4(), email=f"{uuid4().hex}@example.com", role=role)
        async with engine.begin() as tx:
            await insert_users(tx, [UserRow(user, "no password")])
        token = TokenSigner(settings).sign(user, "session")
        return Person(user.id, user.email, {"Authorization": f"Bearer {token}"})

    return make


@pytest.fixture
async def manager(make_person: MakePerson) -> Person:
    return await make_person("manager")


@pytest.fixture
async def admin(make_person: MakePerson) -> Person:
    return await make_person("admin")


@pytest.fixture
async def make_api_key(engine: AsyncEngine, manager: Person) -> MakeKey:
    async def make(
        scopes: Sequence[str] = ("events:publish:*",),
        sources: Sequence[str] = (SOURCE,),
        owner: UUID | None = None,
        expires_at: datetime | None = None,
    ) -> str:
        key = generate_api_key()
        async with engine.begin() as tx:
            await insert_api_key(
                tx,
                key,
                name="crm",
                owner_id=owner or manager.id,
                scopes=scopes,
                sources=sources,
                expires_at=expires_at,
            )
        return key.key

    return make


@pytest.fixture
async def api_key(make_api_key: MakeKey) -> str:
    return await make_api_key()


class Spy:
    """A queue of our own on an exchange: what the ingress publishes there."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def take(self, message: AbstractIncomingMessage) -> None:
        self._messages.put_nowait(message)

    async def message(self) -> AbstractIncomingMessage:
        """Wait for the next message."""
        async with asyncio.timeout(PATIENCE):
            return await self._messages.get()

    async def event(self) -> dict[str, Any]:
        """Wait for the next event."""
        found: dict[str, Any] = orjson.loads((await self.message()).body)
        return found

    async def events(self, count: int) -> list[dict[str, Any]]:
        return [await self.event() for _ in range(count)]

    def is_empty(self) -> bool:
        return self._messages.empty()


@asynccontextmanager
async def spying(broker: AbstractConnection, exchange: str) -> AsyncIterator[Spy]:
    async with broker.channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, "#")
        spy = Spy()
        await queue.consume(spy.take, no_ack=True)
        yield spy


@pytest.fixture
async def spy(broker: AbstractConnection) -> AsyncIterator[Spy]:
    async with spying(broker, topology.EVENTS_EXCHANGE) as spy:
        yield spy


MakeCampaign = Callable[..., Awaitable[CampaignRow]]


@pytest.fixture
async def make_campaign(engine: AsyncEngine, manager: Person) -> MakeCampaign:
    async def make(owner: UUID | None = None, **fields: Any) -> CampaignRow:
        moment = datetime(2026, 11, 22, 8, 0, 0, 123456, tzinfo=UTC)
        values: dict[str, Any] = {
            "id": uuid4(),
            "owner_id": owner or manager.id,
            "platform": "claude",
            "name": "Spring",
            "status": "active",
            "desired_status": "active",
            "budget_micros": 1_250_500_000,
            "currency": "USD",
            "targeting": Targeting(interests=("tea",), age_range=(25, 45)),
            "created_at": moment,
            "updated_at": moment,
            "version": 3,
        }
        campaign = CampaignRow(**{**values, **fields})
        async with engine.begin() as tx:
            await insert_campaigns(tx, [campaign])
        return campaign

    return make


async def body_of(response: aiohttp.ClientResponse, status: int) -> Any:
    """Read an answer that must have this status."""
    text = await response.text()
    assert response.status == status, text
    return orjson.loads(text) if text else None


async def error_of(response: aiohttp.ClientResponse, status: int) -> Any:
    """Read an answer that must be an error in the envelope."""
    body = await body_of(response, status)
    assert body["success"] is False
    assert body["meta"]["request_id"] == response.headers["X-Request-ID"]
    assert datetime.fromisoformat(body["meta"]["timestamp"]).tzinfo is not None
    return body["error"]
