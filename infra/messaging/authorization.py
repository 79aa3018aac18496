"""Checks that the broker user that published a message may publish its event type and source.

    Adrelay's own users  any source: the ingress has checked keys and signatures before it
                         published, and the relay carries what the ingress wrote to the outbox
    INGRESS_USER's       requests (``adrelay.requests``)
    registered users     their registered sources and the upstream event types, on behalf of
                         their owner
    anybody else         nothing, nor a message without a user id: a dead letter

Topic permissions of the broker come first, but they do not see the header CC before RabbitMQ 4,
and they know no sources. Registered users are read at most once a second in a process, and only
for messages that are not of Adrelay's own users.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import unquote, urlsplit
from uuid import UUID

from events import UPSTREAM_EVENTS
from events.campaigns import CampaignRequest
from events.envelope import Event
from infra.amqp import topology
from infra.errors import Permanent
from infra.messaging.decoder import DecodedDelivery, to_permanent
from infra.messaging.delivery import Delivery
from infra.settings import Settings
from infra.storage.publisher_registry import PublisherRegistry
from infra.storage.publishers import RegisteredPublisher
from schemas.source_namespace import is_reserved_source

NAME_LENGTH = 200  # characters of a name in a reason


def parse_broker_users(urls: str) -> frozenset[str]:
    """Parse the user names of AMQP URLs, separated by spaces."""
    return frozenset(unquote(urlsplit(url).username or "guest") for url in urls.split())


def internal_users(settings: Settings) -> frozenset[str]:
    """Name Adrelay's own broker users: workers, the process itself, ingress and console."""
    own = parse_broker_users(settings.rabbitmq_url.get_secret_value())
    return own | worker_users(settings) | asking_users(settings)


def worker_users(settings: Settings) -> frozenset[str]:
    """Name the users of the workers; the process's own where the setting names none."""
    named = frozenset((settings.workers_user or "").split())
    return named or parse_broker_users(settings.rabbitmq_url.get_secret_value())


def asking_users(settings: Settings) -> frozenset[str]:
    """Name the users that may ask the auth worker; empty where the setting names none."""
    return frozenset((settings.ingress_user or "").split())


class PublisherAuthorizer:
    """Authorizes the deliveries of one queue."""

    def __init__(self, queue: str, settings: Settings, registry: PublisherRegistry) -> None:
        """Take Adrelay's own users from the settings."""
        self._internal = internal_users(settings)
        self._requests = queue in {asked.name for asked in topology.REQUEST_QUEUES}
        self._allowed = (asking_users(settings) if self._requests else None) or self._internal
        self._registry = registry

    def is_internal(self, delivery: Delivery) -> bool:
        """Tell whether one of Adrelay's own users published it, both first and last."""
        publisher = delivery.user_id
        first = delivery.user if delivery.is_requeued else publisher
        return publisher in self._internal and first in self._allowed

    async def authorize(
        self, batch: Sequence[DecodedDelivery]
    ) -> tuple[list[DecodedDelivery], list[tuple[Delivery, Permanent]]]:
        """Divide a batch into what is allowed and what is rejected, with the reason.

        Commands of a registered publisher come out with its owner. Raises ``Outage`` while the
        registered publishers cannot be read.
        """
        external = {item for item in batch if not self.is_internal(item.delivery)}
        if not external:
            return list(batch), []
        publishers = {} if self._requests else await self._registry.current()
        allowed: list[DecodedDelivery] = []
        refused: list[tuple[Delivery, Permanent]] = []
        for item in batch:
            try:
                allowed.append(self._checked(item, publishers) if item in external else item)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this message's alone
                refused.append((item.delivery, to_permanent(error)))
        return allowed, refused

    def _checked(
        self, item: DecodedDelivery, publishers: Mapping[str, RegisteredPublisher]
    ) -> DecodedDelivery:
        user = item.delivery.user
        if user is None:
            raise _unverified("it carries no user_id, so nobody knows who has published it")
        if item.delivery.is_requeued and item.delivery.user_id not in self._internal:
            raise _unverified(f"{_quote(item.delivery.user_id)} may not send anything back")
        if self._requests:
            raise _unverified(f"requests are allowed from the ingress, not from {_quote(user)}")
        publisher = publishers.get(user)
        if publisher is None:
            raise _unverified(f"the user {_quote(user)} of the broker is no registered publisher")
        event: Event = item.event
        if not isinstance(event, UPSTREAM_EVENTS):
            raise _unverified(f"the user {_quote(user)} of the broker may not publish {event.type}")
        if event.source not in publisher.sources or is_reserved_source(event.source):
            source = _quote(event.source)
            raise _unverified(f"the user {_quote(user)} of the broker may not speak for {source}")
        if isinstance(event, CampaignRequest):
            return replace(item, event=_owned(event, publisher))
        return item


def _owned(event: CampaignRequest, publisher: RegisteredPublisher) -> CampaignRequest:
    """Set the owner of a command that names none; raises ``Permanent`` if it names another."""
    owner = str(publisher.owner_id)
    if event.ownerid is None:
        return event.model_copy(update={"ownerid": owner})
    if _uuid(event.ownerid) != publisher.owner_id:
        reason = f"ownerid: {_quote(publisher.broker_user)} may ask for campaigns of {owner} alone"
        raise Permanent(reason, code="UNVERIFIED_OWNER")
    return event


def _unverified(reason: str) -> Permanent:
    return Permanent(reason, code="UNVERIFIED_SOURCE")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _quote(name: str | None) -> str:
    return repr((name or "")[:NAME_LENGTH])
