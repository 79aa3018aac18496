"""Who is believed: the broker says who published a message, this says what he may speak for.

    our own users      any source: the ingress has checked keys and signatures before it
                       published, and the relay carries what the ingress wrote to the outbox
    the ingress alone  requests (``adrelay.requests``)
    a publisher        the sources and the types that are his, in his owner's name
    anybody else       nothing, and so a message without a user id: a dead letter

Topic permissions of the broker come first, but do not see the header CC before RabbitMQ 4; and
they know no sources. Who is registered is read at most once a second in a process, and only
for messages that are not our own users'.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import unquote, urlsplit
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from events import UPSTREAM_EVENTS
from events.campaigns import CampaignRequest
from events.envelope import Event
from infra.amqp import topology
from infra.errors import Outage, Permanent
from infra.messaging.decoder import DecodedDelivery, to_permanent
from infra.messaging.delivery import Delivery
from infra.settings import Settings
from infra.storage.publishers import RegisteredPublisher, list_publishers
from schemas.source_namespace import is_reserved_source

FRESH = 1.0  # seconds that a look at the table counts
SHOWN = 200  # characters of a name in a reason


def parse_broker_users(urls: str) -> frozenset[str]:
    """Name the users of the broker in AMQP URLs, separated by spaces."""
    return frozenset(unquote(urlsplit(url).username or "guest") for url in urls.split())


class PublisherRegistry:
    """The registered publishers, as they were a moment ago."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Read nothing yet."""
        self._engine = engine
        self._lock = asyncio.Lock()
        self._read_at = float("-inf")
        self._publishers: Mapping[str, RegisteredPublisher] = {}

    async def current(self) -> Mapping[str, RegisteredPublisher]:
        """Give the publishers by their users; raises ``Outage`` while they cannot be read."""
        clock = asyncio.get_running_loop().time
        async with self._lock:
            if clock() - self._read_at >= FRESH:
                began = clock()
                try:
                    async with self._engine.connect() as connection:
                        self._publishers = await list_publishers(connection)
                except (SQLAlchemyError, OSError) as error:
                    raise Outage("the publishers cannot be read") from error
                self._read_at = began
            return self._publishers


class PublisherAuthorizer:
    """Tells for the deliveries of one queue whether they are to be believed."""

    def __init__(self, queue: str, settings: Settings, registry: PublisherRegistry) -> None:
        """Know our users by the settings: the process's own, and the ingress'."""
        workers = parse_broker_users(settings.rabbitmq_url.get_secret_value())
        ingress = frozenset({settings.ingress_user}) if settings.ingress_user else workers
        self._requests = queue in {asked.name for asked in topology.REQUEST_QUEUES}
        self._ours = workers | ingress
        self._believed = ingress if self._requests else self._ours
        self._registry = registry

    def is_ours(self, delivery: Delivery) -> bool:
        """Tell whether one of our own users has published it, at first and last."""
        publisher = delivery.user_id
        first = delivery.user if delivery.is_requeued else publisher
        return publisher in self._ours and first in self._believed

    async def authorize(
        self, batch: Sequence[DecodedDelivery]
    ) -> tuple[list[DecodedDelivery], list[tuple[Delivery, Permanent]]]:
        """Divide a batch into what is believed and what is not, with the reason.

        Campaigns that a foreign publisher asks for come out in his owner's name. Raises
        ``Outage`` while the publishers cannot be read.
        """
        strangers = {item for item in batch if not self.is_ours(item.delivery)}
        if not strangers:
            return list(batch), []
        publishers = {} if self._requests else await self._registry.current()
        believed: list[DecodedDelivery] = []
        refused: list[tuple[Delivery, Permanent]] = []
        for item in batch:
            try:
                believed.append(self._checked(item, publishers) if item in strangers else item)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this message's alone
                refused.append((item.delivery, to_permanent(error)))
        return believed, refused

    def _checked(
        self, item: DecodedDelivery, publishers: Mapping[str, RegisteredPublisher]
    ) -> DecodedDelivery:
        user = item.delivery.user
        if user is None:
            raise _unverified("it carries no user_id, so nobody knows who has published it")
        if item.delivery.is_requeued and item.delivery.user_id not in self._ours:
            raise _unverified(f"{_shown(item.delivery.user_id)} may not send anything back")
        if self._requests:
            raise _unverified(f"requests are believed from the ingress, not from {_shown(user)}")
        publisher = publishers.get(user)
        if publisher is None:
            raise _unverified(f"the user {_shown(user)} of the broker is no registered publisher")
        event: Event = item.event
        if not isinstance(event, UPSTREAM_EVENTS):
            raise _unverified(f"the user {_shown(user)} of the broker may not publish {event.type}")
        if event.source not in publisher.sources or is_reserved_source(event.source):
            source = _shown(event.source)
            raise _unverified(f"the user {_shown(user)} of the broker may not speak for {source}")
        if isinstance(event, CampaignRequest):
            return replace(item, event=_owned(event, publisher))
        return item


def _owned(event: CampaignRequest, publisher: RegisteredPublisher) -> CampaignRequest:
    """Write the owner into a wish that names none; raises ``Permanent`` where it names another."""
    owner = str(publisher.owner_id)
    if event.ownerid is None:
        return event.model_copy(update={"ownerid": owner})
    if _uuid(event.ownerid) != publisher.owner_id:
        reason = f"ownerid: {_shown(publisher.broker_user)} may ask for campaigns of {owner} alone"
        raise Permanent(reason, code="UNVERIFIED_OWNER")
    return event


def _unverified(reason: str) -> Permanent:
    return Permanent(reason, code="UNVERIFIED_SOURCE")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _shown(name: str | None) -> str:
    return repr((name or "")[:SHOWN])
