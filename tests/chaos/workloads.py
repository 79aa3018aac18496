"""What each worker is given to do, numbered, and what must have come of it: each thing once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol
from uuid import uuid4

from events import RegistrationRequested
from events.base import Event, new_id, now
from events.users import SealedRequest
from handlers.credentials import API
from infra import outbox, topology
from infra.message import Message, message_of
from infra.seal import seal
from infra.settle import ERROR_CLASS, LAST_FAILED, PLACE, REASON
from infra.store.campaigns import StoredCampaign
from tests.chaos.stage import Stage
from tests.handlers.samples import create, metrics, put, running, saved, stored, synced, update
from workers.metrics import SUBSCRIPTIONS as METRICS
from workers.relay import SUBSCRIPTIONS as OFFICE

COUNT = 20
# A sum of different powers of two shows which of them are missing and which came twice.
EACH_ONCE = 2**COUNT - 1
BAD = 4
AHEAD = timedelta(minutes=4)


class Workload(Protocol):
    """Work for the worker ``module``."""

    module: str

    async def send(self, stage: Stage) -> None:
        """Give it something to do."""

    async def between(self, stage: Stage) -> None:
        """Go on while it is dead."""

    async def done(self, stage: Stage) -> bool:
        """Tell whether nothing is left to do."""

    async def check(self, stage: Stage) -> None:
        """See that each effect is there once."""


class Queued(Workload, Protocol):
    """What most of them have alike: so many events of one queue, each handled once."""

    queue: str
    handled: int = COUNT

    async def between(self, stage: Stage) -> None:
        """Nothing goes on."""

    async def done(self, stage: Stage) -> bool:
        return await stage.came_to(self.queue, self.handled)


def deltas(campaign: StoredCampaign) -> list[Event]:
    """Make reports whose sum tells each of them."""
    named = {"platform_campaign_id": None, "campaign_id": campaign.id, "mode": "delta"}
    told = [metrics(campaign, 2**n, at=now(), **named) for n in range(COUNT)]
    return [event.model_copy(update={"source": "urn:test"}) for event in told]


async def check_sum(stage: Stage, campaign: StoredCampaign) -> None:
    """See that the deltas of a campaign were added once each."""
    query = "select impressions from campaign_metrics where campaign_id = :id"
    assert await stage.rows(query, id=campaign.id) == [(EACH_ONCE,)]


class Metrics(Queued):
    """Deltas about a campaign that is known."""

    module, queue = "workers.metrics", "metrics.record"

    def __init__(self) -> None:
        self.campaign = running()

    async def send(self, stage: Stage) -> None:
        await put(stage.resources.engine, self.campaign)
        await stage.publish(deltas(self.campaign))

    async def check(self, stage: Stage) -> None:
        await check_sum(stage, self.campaign)
        named = [id_ for event in await stage.caused() for id_ in event["data"]["events"]]
        assert sorted(named) == sorted(event.id for event in stage.sent)


class TooEarly(Metrics):
    """Deltas about a campaign that is known only later, so they are told to come again."""

    async def send(self, stage: Stage) -> None:
        await stage.publish(deltas(self.campaign))

    async def between(self, stage: Stage) -> None:
        await put(stage.resources.engine, self.campaign)


class Invalid(Metrics):
    """Deltas, and messages among them that must be dead letters, each once."""

    async def send(self, stage: Stage) -> None:
        await super().send(stage)
        key = "campaign.metrics_reported.v1.claude"
        bad = [Message(topology.EVENTS, key, b"{}", f"bad-{n}") for n in range(BAD)]
        assert not any(await stage.resources.publisher.publish_all(bad))

    async def check(self, stage: Stage) -> None:
        await check_sum(stage, self.campaign)
        office = next(one for one in OFFICE if one.queue == f"{self.queue}.dead")
        # Who died before the ack has made dead letters that are made once more.
        deaths = await stage.waiting(office.queue)
        assert deaths > BAD
        await stage.consume(office, deaths)
        letters = await stage.rows("select message_id, error_class from dead_letters order by 1")
        assert letters == [(f"bad-{n}", "INVALID_EVENT") for n in range(BAD)]


class Apply(Queued):
    """Campaigns to be created; the operation of each is done."""

    module, queue = "workers.campaigns", "campaigns.apply"

    async def send(self, stage: Stage) -> None:
        await stage.publish([create(uuid4()) for _ in range(COUNT)])

    async def check(self, stage: Stage) -> None:
        events = await stage.caused_once("campaign.saved.v1", by=stage.sent)
        rows = await stage.rows("select cast(id as text), version from campaigns order by 1")
        assert rows == sorted((event["data"]["campaign_id"], 1) for event in events)
        assert await _operations(stage, "done") == sorted(event.id for event in stage.sent)


class Overtaken(Queued):
    """Changes that come before the creation of their campaigns, so they are told to come again."""

    module, queue = "workers.campaigns", "campaigns.apply"
    handled = 2 * COUNT

    def __init__(self) -> None:
        self.campaigns = [uuid4() for _ in range(COUNT)]

    async def send(self, stage: Stage) -> None:
        # From a little ahead, so that they are young for as long as this takes.
        at = now() + AHEAD
        await stage.publish([update(i, name="Changed", time=at) for i in self.campaigns])

    async def between(self, stage: Stage) -> None:
        await stage.publish([create(i) for i in self.campaigns])

    async def check(self, stage: Stage) -> None:
        await stage.caused_once("campaign.saved.v1", by=stage.sent)
        rows = await stage.rows("select name, version from campaigns")
        assert rows == [("Changed", 2)] * COUNT
        assert await _operations(stage, "done") == sorted(event.id for event in stage.sent)


class Record(Queued):
    """News that the platform took campaigns."""

    module, queue = "workers.campaigns", "campaigns.record"

    async def send(self, stage: Stage) -> None:
        campaigns = [stored() for _ in range(COUNT)]
        await put(stage.resources.engine, *campaigns)
        await stage.publish([synced(campaign) for campaign in campaigns])

    async def check(self, stage: Stage) -> None:
        await stage.caused_once("campaign.status_changed.v1", by=stage.sent)
        rows = await stage.rows("select status, version, synced_version from campaigns")
        assert rows == [("active", 2, 1)] * COUNT


class Sync(Queued):
    """Campaigns that their platform has to hold, each once."""

    module, queue = "workers.sync", "sync.claude"

    async def send(self, stage: Stage) -> None:
        campaigns = [stored() for _ in range(COUNT)]
        await put(stage.resources.engine, *campaigns)
        await stage.publish([saved(campaign) for campaign in campaigns])

    async def between(self, stage: Stage) -> None:
        """Let the time pass that the leases of the dead take to run out."""
        past = "update campaigns set leased_until = now() - interval '1 second'"
        await stage.rows(f"{past} where leased_until > now()")

    async def check(self, stage: Stage) -> None:
        await stage.caused_once("campaign.synced.v1", by=stage.sent)
        ids = [row[0] for row in await stage.rows("select cast(id as text) from campaigns")]
        held = stage.platforms.books["claude"].campaigns.values()
        assert sorted(campaign.wished.reference for campaign in held) == sorted(ids)
        assert await stage.count("select count(*) from campaigns where leased_until > now()") == 0


class Register(Queued):
    """Registrations, sealed as the ingress does it."""

    module, queue = "workers.auth", "auth.register"

    async def send(self, stage: Stage) -> None:
        await stage.publish([self._event(stage, number) for number in range(COUNT)])

    async def check(self, stage: Stage) -> None:
        await stage.caused_once("user.registered.v1", "session.started.v1", by=stage.sent)
        rows = await stage.rows("select email from users")
        assert sorted(row[0] for row in rows) == sorted(f"{n}@example.com" for n in range(COUNT))

    def _event(self, stage: Stage, number: int) -> Event:
        event_id, purpose = new_id(), RegistrationRequested.event_type()
        body = {"email": f"{number}@example.com", "password": "plain but long enough"}
        key = stage.settings.seal_public_key or ""
        box = seal(key, body, purpose=purpose, request_id=event_id)
        return RegistrationRequested(id=event_id, source=API, data=SealedRequest(sealed=box))


class Outbox:
    """Rows of the outbox; whoever reads what they became adds each of them once."""

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
            await outbox.add(tx, [message_of(event) for event in stage.sent])

    async def check(self, stage: Stage) -> None:
        assert (await stage.seen()).keys() == {event.id for event in stage.sent}
        await stage.consume(METRICS[0], COUNT)
        await check_sum(stage, self.campaign)


class Office(Queued):
    """Dead letters to be filed, and the operations that they were for."""

    module, queue = "workers.relay", "campaigns.apply.dead"

    async def send(self, stage: Stage) -> None:
        stage.sent += [create(uuid4()) for _ in range(COUNT)]
        at = now().isoformat()
        died = {REASON: "poison", ERROR_CLASS: "POISON", PLACE: "handler", LAST_FAILED: at}
        letters = [
            replace(
                message_of(event), exchange=topology.DEAD, routing_key=Apply.queue, headers=died
            )
            for event in stage.sent
        ]
        assert not any(await stage.resources.publisher.publish_all(letters))

    async def check(self, stage: Stage) -> None:
        ids = sorted(event.id for event in stage.sent)
        rows = await stage.rows("select event_id, error_class, state from dead_letters order by 1")
        assert rows == [(id_, "POISON", "open") for id_ in ids]
        assert await _operations(stage, "dead") == ids


async def _operations(stage: Stage, state: str) -> Sequence[Any]:
    rows = await stage.rows("select id from operations where state = :state", state=state)
    assert len(rows) == await stage.count("select count(*) from operations")
    return sorted(row[0] for row in rows)
