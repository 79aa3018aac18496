"""Which broker user may publish what, as a table; and when the registry is read."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from pamqp.commands import Basic
from pamqp.common import FieldTable
from sqlalchemy import delete, event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import EVENT_TYPES, CampaignCreateRequested, CampaignSaved, LoginRequested
from events.envelope import Event, encode
from infra.amqp import topology
from infra.amqp.permissions import CONSOLE_USER, INGRESS_USER, OPS_USER, UPSTREAM_USER, WORKERS_USER
from infra.errors import Outage, Permanent
from infra.messaging.authorization import PublisherAuthorizer, parse_broker_users
from infra.messaging.decoder import DecodedDelivery, decode_delivery
from infra.messaging.delivery import Delivery
from infra.messaging.headers import KEY, USER
from infra.resources import Resources
from infra.settings import Settings
from infra.storage.engine import open_engine
from infra.storage.publisher_registry import PublisherRegistry
from infra.storage.tables import publishers
from tests.handlers.samples import running, saved
from tests.infra.ledger import report, until
from tests.infra.parties import OWNER, SOURCE, create_command, register

OURS = ("urn:adrelay", "URN:ADRELAY:api", "urn:adrelay:webhook:claude", "urn:%61drelay:api")
UNVERIFIED = "UNVERIFIED_SOURCE"


@pytest.fixture(autouse=True)
async def _publishers(engine: AsyncEngine) -> None:
    # Even if somebody enters our own sources, they are not his.
    await register(engine, SOURCE, "urn:acme:shop")
    async with engine.begin() as tx:
        ours = {"ours": list(OURS)}
        await tx.execute(text("update publishers set sources = sources || :ours"), ours)


def received(
    event: Event, user: str | None, *, back: str | None = None, queue: str = "metrics.record"
) -> DecodedDelivery:
    """Make what a consumer has decoded; ``back`` is who published it first, before it came back."""
    headers: FieldTable | None = None if back is None else {KEY: event.routing_key, USER: back}
    exchange = topology.EVENTS_EXCHANGE if back is None else topology.RETURN_EXCHANGE
    properties = Basic.Properties(user_id=user, headers=headers)
    delivery = Delivery(
        1, queue, exchange, event.routing_key, encode(event), properties, redelivered=False
    )
    return decode_delivery(delivery, EVENT_TYPES, 10_000)


async def verdict(resources: Resources, item: DecodedDelivery) -> Event | tuple[str, str]:
    """Give the event as it is authorized, or the error class and the reason."""
    trust = PublisherAuthorizer(item.delivery.queue, resources.settings, resources.publishers)
    authorized, refused = await trust.authorize([item])
    if authorized:
        assert not refused
        found: Event = authorized[0].event
        return found
    ((_, error),) = refused
    return error.code, error.reason


@pytest.mark.parametrize("user", [WORKERS_USER, INGRESS_USER])
@pytest.mark.parametrize("source", [SOURCE, "urn:anybody", *OURS])
async def test_our_own_users_speak_for_every_source(
    resources: Resources, user: str, source: str
) -> None:
    sent = create_command(source=source)
    assert await verdict(resources, received(sent, user)) == sent
    assert sent.ownerid is None


@pytest.mark.parametrize("source", [SOURCE, "urn:acme:shop"])
async def test_a_publisher_speaks_for_its_sources(resources: Resources, source: str) -> None:
    sent = report(1, source=source)
    assert await verdict(resources, received(sent, UPSTREAM_USER)) == sent


@pytest.mark.parametrize("source", ["urn:acme", "urn:acme:crm:x", "urn:ACME:crm", *OURS])
async def test_a_publisher_speaks_for_no_other_source(resources: Resources, source: str) -> None:
    code, reason = await verdict(resources, received(report(1, source=source), UPSTREAM_USER))
    assert code == UNVERIFIED
    assert reason == f"the user {UPSTREAM_USER!r} of the broker may not speak for {source!r}"


@pytest.mark.parametrize("user", ["somebody", OPS_USER, "adrelay", "guest", f"{WORKERS_USER} "])
async def test_an_unregistered_user_is_not_authorized(resources: Resources, user: str) -> None:
    code, reason = await verdict(resources, received(report(1, source=SOURCE), user))
    assert code == UNVERIFIED
    assert reason == f"the user {user!r} of the broker is no registered publisher"


async def test_a_message_without_a_user_is_not_authorized(resources: Resources) -> None:
    code, reason = await verdict(resources, received(report(1, source=SOURCE), None))
    assert (code, "no user_id" in reason) == (UNVERIFIED, True)


async def test_a_publisher_publishes_the_types_of_upstream_systems_alone(
    resources: Resources,
) -> None:
    fact = saved(running()).model_copy(update={"source": SOURCE})
    assert isinstance(fact, CampaignSaved)
    code, reason = await verdict(resources, received(fact, UPSTREAM_USER))
    assert code == UNVERIFIED
    assert reason == f"the user {UPSTREAM_USER!r} of the broker may not publish campaign.saved.v1"


@pytest.mark.parametrize("owner", [None, str(OWNER), str(OWNER).upper(), OWNER.hex])
async def test_a_command_without_an_owner_is_made_for_the_publishers(
    resources: Resources, owner: str | None
) -> None:
    authorized = await verdict(resources, received(create_command(ownerid=owner), UPSTREAM_USER))
    assert isinstance(authorized, CampaignCreateRequested)
    assert authorized.ownerid is not None
    assert UUID(authorized.ownerid) == OWNER


@pytest.mark.parametrize("owner", [str(UUID(int=1)), "nobody", "*"])
async def test_a_command_for_another_owner_is_refused(resources: Resources, owner: str) -> None:
    code, reason = await verdict(resources, received(create_command(ownerid=owner), UPSTREAM_USER))
    assert code == "UNVERIFIED_OWNER"
    assert reason == f"ownerid: {UPSTREAM_USER!r} may ask for campaigns of {OWNER} alone"
    assert owner not in reason


async def test_a_returned_message_is_authorized_for_its_first_publisher(
    resources: Resources,
) -> None:
    mine, theirs = report(1, source=SOURCE), report(1, source="urn:other")
    assert await verdict(resources, received(mine, WORKERS_USER, back=UPSTREAM_USER)) == mine
    assert await verdict(resources, received(theirs, WORKERS_USER, back=INGRESS_USER)) == theirs
    code, _ = await verdict(resources, received(theirs, WORKERS_USER, back=UPSTREAM_USER))
    assert code == UNVERIFIED
    code, reason = await verdict(resources, received(mine, WORKERS_USER, back=""))
    assert (code, "no user_id" in reason) == (UNVERIFIED, True)


async def test_nobody_else_sends_anything_back(resources: Resources) -> None:
    for user in (UPSTREAM_USER, "somebody", None):
        item = received(report(1, source=SOURCE), user, back=WORKERS_USER)
        code, reason = await verdict(resources, item)
        assert code == UNVERIFIED
        assert "may not send anything back" in reason


@pytest.mark.parametrize("user", [WORKERS_USER, UPSTREAM_USER, OPS_USER, None])
async def test_requests_are_accepted_from_the_ingress_alone(
    resources: Resources, user: str | None
) -> None:
    login = LoginRequested(id="l-1", source="urn:adrelay:api", data={"sealed": "x"})
    assert await verdict(resources, received(login, INGRESS_USER, queue="auth.session")) == login
    code, _ = await verdict(resources, received(login, user, queue="auth.session"))
    assert code == UNVERIFIED


async def test_requests_are_accepted_from_every_user_that_the_setting_names(
    resources: Resources,
) -> None:
    login = LoginRequested(id="l-1", source="urn:adrelay:api", data={"sealed": "x"})
    assert await verdict(resources, received(login, CONSOLE_USER, queue="auth.session")) == login
    alone = resources.settings.model_copy(update={"ingress_user": INGRESS_USER})
    trust = PublisherAuthorizer("auth.session", alone, resources.publishers)
    assert not trust.is_internal(received(login, CONSOLE_USER).delivery)


async def test_where_the_ingress_has_no_user_of_its_own_it_is_the_workers(
    resources: Resources,
) -> None:
    alone = resources.settings.model_copy(update={"ingress_user": None})
    login = LoginRequested(id="l-1", source="urn:adrelay:api", data={"sealed": "x"})
    trust = PublisherAuthorizer("auth.session", alone, resources.publishers)
    assert trust.is_internal(received(login, WORKERS_USER).delivery)
    assert not trust.is_internal(received(login, INGRESS_USER).delivery)


async def test_one_of_a_batch_is_refused_and_its_neighbours_keep_their_order(
    resources: Resources,
) -> None:
    users = (WORKERS_USER, "somebody", UPSTREAM_USER, INGRESS_USER, None)
    batch = [received(report(n, source=SOURCE), user) for n, user in enumerate(users)]
    trust = PublisherAuthorizer("metrics.record", resources.settings, resources.publishers)
    authorized, refused = await trust.authorize(batch)
    assert [item.event.id for item in authorized] == ["e-0", "e-2", "e-3"]
    assert [delivery for delivery, _ in refused] == [batch[1].delivery, batch[4].delivery]
    assert all(isinstance(error, Permanent) for _, error in refused)


async def test_the_table_is_read_once_a_second_and_never_for_our_own_users(
    resources: Resources,
) -> None:
    reads: list[str] = []

    def note(*words: Any) -> None:
        reads.append(words[2])

    engine = resources.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    trust = PublisherAuthorizer("metrics.record", resources.settings, resources.publishers)
    ours = [received(report(n), WORKERS_USER) for n in range(20)]
    theirs = [received(report(n, source=SOURCE), UPSTREAM_USER) for n in range(20)]
    await trust.authorize(ours)
    assert reads == []
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*(trust.authorize(theirs) for _ in range(200)))
    assert 1 <= len(reads) <= 1 + (loop.time() - began)
    assert "publishers" in reads[0]


async def test_a_user_that_is_no_longer_registered_is_soon_not_authorized(
    resources: Resources, engine: AsyncEngine
) -> None:
    item = received(report(1, source=SOURCE), UPSTREAM_USER)
    assert isinstance(await verdict(resources, item), Event)
    async with engine.begin() as tx:
        await tx.execute(delete(publishers))

    async def refused() -> bool:
        return not isinstance(await verdict(resources, item), Event)

    await until(refused, 5)


async def test_without_the_database_nothing_is_decided(settings: Settings) -> None:
    nowhere = type(settings.database_url)("postgresql://a:b@127.0.0.1:1/c")
    engine = open_engine(settings.model_copy(update={"database_url": nowhere}))
    trust = PublisherAuthorizer("metrics.record", settings, PublisherRegistry(engine))
    item = received(report(1, source=SOURCE), UPSTREAM_USER)
    with pytest.raises(Outage, match="publishers"):
        await trust.authorize([item])
    authorized, _ = await trust.authorize([received(report(1), WORKERS_USER)])
    assert len(authorized) == 1
    await engine.dispose()


@pytest.mark.parametrize(
    ("urls", "users"),
    [
        ("amqp://a:b@h/v", {"a"}),
        ("amqps://a%2Fb:c@h/v amqp://d@h", {"a/b", "d"}),
        ("amqp://h", {"guest"}),
    ],
)
def test_users_are_read_from_urls(urls: str, users: set[str]) -> None:
    assert parse_broker_users(urls) == users
