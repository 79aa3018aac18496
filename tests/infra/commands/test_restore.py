"""A database that was put back gets from the event log what it lacks."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import pytest
from aio_pika.abc import AbstractConnection
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import (
    CampaignMetricsReported,
    CampaignSynced,
    RegistrationRequested,
    SessionStarted,
)
from events.campaigns import CampaignSyncedData
from events.envelope import Event, now
from events.sources import API_SOURCE
from events.users import EncryptedRequestData, SessionStartedData
from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.amqp.message import Message, build_message
from infra.amqp.permissions import WORKERS_USER
from infra.amqp.publisher import Publisher
from infra.commands import restore as restore_command
from infra.commands.restore import load_subscriptions, restore
from infra.commands.restore_output import RestoreOutput
from infra.errors import Outage
from infra.messaging import log_restore
from infra.messaging.consumer import Consumer
from infra.messaging.dead_letter import find_letter_id
from infra.messaging.log_marker import find_last, mark_once
from infra.messaging.outbox_relay import relay_once
from infra.messaging.restore_end import PAUSED_BY
from infra.messaging.restore_plan import mark_start
from infra.messaging.subscription import AnySubscription
from infra.resources import Resources
from infra.security.sealed_box import encrypt_payload
from infra.settings import Settings
from infra.storage.engine import open_engine
from infra.storage.log_marks import insert_mark
from infra.storage.pauses import PauseRow, list_pauses
from tests.fork_server import run_module
from tests.handlers.samples import DAY, create, delete, update
from tests.infra.ledger import count, until
from tests.infra.messaging.log_reading import find_next_offset, read_all
from tests.services import Services

IMPRESSIONS = "select coalesce(sum(impressions), 0) from campaign_metrics"
EMAIL = "ada@example.com"
WORKED = ("campaigns.apply", "campaigns.record", "metrics.record")
END_SESSIONS = """
    select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'
"""
CAMPAIGNS = """
    select id, owner_id, status, desired_status, budget_micros, name, version, desired_version,
        synced_version, platform_campaign_id, deleted_at is null
    from campaigns order by id
"""
FILED = """
    insert into dead_letters (id, queue, routing_key, body, properties, reason, error_class, stage,
        worker, attempts, first_failed_at, last_failed_at, fingerprint)
    values (:id, 'metrics.record', 'k', 'body', '{}', 'r', 'c', 'p', 'w', 1, now(), now(), 'f')
"""
METRICS = """
    select campaign_id, date, impressions, clicks, conversions, spend_micros
    from campaign_metrics order by campaign_id, date
"""


class Place:
    """A system whose database can be backed up and lost."""

    def __init__(self, settings: Settings, services: Services, resources: Resources) -> None:
        self.settings = settings
        self.resources = resources
        self._services = services
        self._url = open_engine(settings).url

    async def forget(self, broker: AbstractConnection) -> None:
        """Mark what earlier tests have left in the log as settled."""
        link = BrokerConnection(self.settings, "test:log")
        end = await find_next_offset(broker, link)
        await link.close()
        async with self.resources.engine.begin() as tx:
            await insert_mark(tx, end, end)

    async def publish(self, *events: Event) -> None:
        """Publish events as the workers do; each is in the log before the next."""
        for event in events:
            (error,) = await self.resources.publisher.publish_all([build_message(event)])
            assert error is None

    async def work(self) -> None:
        """Run workers and relay until every queue and the outbox are empty."""
        subscriptions = [s for s in load_subscriptions() if s.queue in WORKED]
        async with consuming(self.resources, subscriptions):
            await until(self._is_idle)

    async def _is_idle(self) -> bool:
        moved = await relay_once(self.resources)
        waiting = await count(self.resources.engine, "select count(*) from outbox")
        link = BrokerConnection(self.settings, "test")
        try:
            channel = await link.open_channel()
            found = [await channel.queue_declare(name, passive=True) for name in WORKED]
        finally:
            await link.close()
        marks = await count(self.resources.engine, "select count(*) from inbox")
        await asyncio.sleep(0.1)
        later = await count(self.resources.engine, "select count(*) from inbox")
        return not (moved or waiting or any(f.message_count for f in found) or later != marks)

    async def publish_body(self, key: str, body: bytes) -> None:
        message = Message(topology.EVENTS_EXCHANGE, key, body, "m-1")
        assert await self.resources.publisher.publish_all([message]) == [None]

    async def letter_of(self, body: bytes) -> UUID:
        """Find the id of the dead letter that a message of the log would become."""
        link = BrokerConnection(self.settings, "test:log")
        entries = await read_all(link, "first")
        await link.close()
        (found,) = [e.delivery for e in entries if e.delivery.body == body]
        return find_letter_id("metrics.record", found)

    async def mark(self) -> None:
        link = BrokerConnection(self.settings, "test:marks")
        assert await mark_once(self.resources, link) is not None
        await link.close()

    async def back_up(self) -> Settings:
        """Copy the database; gives the settings of a system that has the copy."""
        await self.resources.engine.dispose()
        name, copy = self._url.database, f"{self._url.database}_copy"
        await asyncio.to_thread(
            self._services.execute, f"drop database if exists {copy} with (force)"
        )
        await asyncio.to_thread(self._services.execute, END_SESSIONS.format(name=name))
        await asyncio.to_thread(
            self._services.execute, f"create database {copy} template {name} owner adrelay"
        )
        url = self.settings.database_url.get_secret_value()
        there = SecretStr(url.replace(f"/{name}", f"/{copy}"))
        return self.settings.model_copy(update={"database_url": there})


class EndingOutput(RestoreOutput):
    """Ends a restore after some stretches of the log."""

    def progress(self, *args: Any) -> None:
        super().progress(*args)
        if self.read >= 20:
            raise Outage("the database is gone")


@pytest.fixture
async def place(
    settings: Settings, services: Services, resources: Resources, broker: AbstractConnection
) -> AsyncIterator[Place]:
    place = Place(settings, services, resources)
    await place.forget(broker)
    yield place
    name = open_engine(settings).url.database
    await asyncio.to_thread(services.execute, f"drop database if exists {name}_copy with (force)")


@asynccontextmanager
async def consuming(
    resources: Resources, subscriptions: Sequence[AnySubscription]
) -> AsyncIterator[None]:
    link, stop, alone = (
        BrokerConnection(resources.settings, "test:consume"),
        asyncio.Event(),
        asyncio.Lock(),
    )
    tasks = [
        asyncio.create_task(Consumer(s, resources, link, alone).run(stop)) for s in subscriptions
    ]
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait(tasks, timeout=10)
        await link.close()


async def restored(
    settings: Settings, capsys: pytest.CaptureFixture[str], **options: bool
) -> tuple[int, list[dict[str, Any]]]:
    """Restore; gives the exit status and what was printed."""
    capsys.readouterr()
    output = RestoreOutput(as_json=True, confirms=False)
    wanted = {"dry_run": False, "accept_gap": False} | options
    status = await restore(settings, load_subscriptions(), output, **wanted)
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def ids_in_log(place: Place) -> set[str | None]:
    link = BrokerConnection(place.settings, "test:log")
    entries = await read_all(link, "first")
    await link.close()
    return {entry.delivery.message_id for entry in entries}


async def rows(engine: AsyncEngine, query: str) -> list[Any]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


def synced(campaign_id: Any, version: int, name: str) -> CampaignSynced:
    data = CampaignSyncedData(
        campaign_id=campaign_id,
        version=version,
        platform="claude",
        platform_campaign_id=name,
        status="active",
    )
    return CampaignSynced(source="urn:adrelay:sync", data=data)


def registration(settings: Settings) -> RegistrationRequested:
    event_id, key = uuid4().hex, settings.seal_public_key
    assert key is not None
    body = {"email": EMAIL, "password": "plain but long enough", "registration_id": str(uuid4())}
    payload = {"body": body, "client": {"address": "203.0.113.9", "device": "a browser"}}
    kind = RegistrationRequested.event_type()
    sealed = encrypt_payload(key, payload, purpose=kind, request_id=event_id)
    return RegistrationRequested(
        id=event_id, source=API_SOURCE, data=EncryptedRequestData(sealed=sealed)
    )


def reported(campaign_id: Any, impressions: int) -> CampaignMetricsReported:
    data = {
        "platform": "claude",
        "campaign_id": campaign_id,
        "date": DAY,
        "impressions": impressions,
        "clicks": 0,
        "conversions": 0,
        "spend": 0,
        "mode": "delta",
    }
    return CampaignMetricsReported(source="urn:adrelay:webhook:claude", time=now(), data=data)


async def test_campaigns_and_figures_are_as_they_were(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, gone = uuid4(), uuid4(), uuid4()
    await place.publish(create(old, owner=None), create(gone, owner=None))
    await place.work()
    await place.publish(synced(old, 1, "p-old"), synced(gone, 1, "p-gone"))
    await place.work()
    await place.mark()
    backup = await place.back_up()
    # What follows is lost with the database.
    await place.publish(update(old, owner=None, budget="2.5"), create(new, owner=None))
    await place.work()
    await place.publish(synced(old, 3, "p-old"), synced(new, 1, "p-new"), delete(gone, owner=None))
    await place.work()
    await place.publish(update(old, owner=None, name="Winter", expected_version=4))
    await place.publish(reported(old, 7), reported(new, 8), reported(new, 9))
    await place.work()
    before = [await rows(place.resources.engine, query) for query in (CAMPAIGNS, METRICS)]
    assert len(before[0]) == 3
    assert before[1][-1][2] in (7, 17)

    status, printed = await restored(backup, capsys)

    there = open_engine(backup)
    after = [await rows(there, query) for query in (CAMPAIGNS, METRICS)]
    assert status == 0, printed
    assert after == before
    assert await count(there, "select count(*) from dead_letters") == 0
    result = printed[-1]
    assert result["queues"]["campaigns.apply"]["handled"] == 4
    assert result["queues"]["campaigns.record"]["handled"] == 2
    assert result["queues"]["metrics.record"]["handled"] == 3
    # The platform lacks the newest state of one campaign, and the deletion of another.
    assert result["campaigns_triggered"] == 2
    caused = await rows(there, "select message_id from outbox where properties ->> 'type' <> ''")
    logged = await ids_in_log(place)
    assert len([1 for (name,) in caused if name not in logged]) == 2  # the triggers alone
    assert await count(there, "select count(*) from pauses") == 0
    assert await count(there, "select count(*) from log_positions where reader = 'restore'") == 0
    await there.dispose()


async def test_a_restore_that_was_ended_goes_on_and_does_nothing_twice(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = uuid4()
    await place.publish(create(campaign, owner=None))
    await place.work()
    await place.mark()
    backup = await place.back_up()
    await place.publish(*(reported(campaign, 1) for _ in range(60)))
    await place.work()
    monkeypatch.setattr(log_restore, "STRETCH", 10)
    there = open_engine(backup)
    ended = await restore(
        backup,
        load_subscriptions(),
        EndingOutput(as_json=True, confirms=False),
        dry_run=False,
        accept_gap=False,
    )
    assert ended == 1
    assert 0 < await count(there, IMPRESSIONS) < 60
    assert {row.paused_by for row in await pauses(there)} == {PAUSED_BY}

    status, printed = await restored(backup, capsys)

    assert status == 0, printed
    assert printed[0]["is_continued"]
    assert await count(there, IMPRESSIONS) == 60
    assert await pauses(there) == []
    await there.dispose()


async def pauses(engine: AsyncEngine) -> Sequence[PauseRow]:
    async with engine.connect() as connection:
        return await list_pauses(connection)


async def test_what_fails_goes_its_usual_way_and_what_is_filed_stays_filed(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = uuid4()
    wrong = reported(campaign, 1).model_copy(update={"id": "wrong"})
    await place.publish(create(campaign, owner=None), reported(uuid4(), 1))
    await place.publish_body("campaign.metrics_reported.v1.claude", b"no event")
    await place.mark()
    backup = await place.back_up()
    there = open_engine(backup)
    async with there.begin() as tx:
        await tx.execute(text(FILED), {"id": await place.letter_of(b"no event")})
    await place.publish(
        wrong.model_copy(update={"data": wrong.data.model_copy(update={"platform": "gemini"})})
    )

    status, printed = await restored(backup, capsys)

    assert status == 0, printed
    counts = printed[-1]["queues"]["metrics.record"]
    assert counts == {"handled": 0, "duplicates": 0, "retried": 1, "dead": 1, "filed": 1}
    sent = await rows(
        there,
        "select exchange, routing_key, properties -> 'headers' from outbox"
        " where exchange <> 'adrelay.events' order by exchange",
    )
    assert [(exchange, key) for exchange, key, _ in sent] == [
        ("adrelay.dead", "metrics.record"),
        (sent[1][0], "metrics.record"),
    ]
    assert sent[0][2]["x-adrelay-error-class"] == "WRONG_PLATFORM"
    assert sent[1][0].startswith("adrelay.retry.")
    assert {headers["x-adrelay-user"] for _, _, headers in sent} == {WORKERS_USER}
    await there.dispose()


async def test_a_registration_gets_the_id_that_it_had_and_logins_are_told(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    await place.publish(create(uuid4(), owner=None))
    await place.mark()
    backup = await place.back_up()
    request = registration(place.settings)
    started = SessionStarted(
        source="urn:adrelay:auth",
        data=SessionStartedData(user_id=uuid4(), session_id="s-1"),
    )
    await place.publish(request, started)

    status, printed = await restored(backup, capsys)

    assert status == 0, printed
    there = open_engine(backup)
    expected = uuid5(NAMESPACE_URL, f"user\n{request.source}\n{request.id}")
    assert await rows(there, "select id, email from users") == [(expected, EMAIL)]
    assert any(line.startswith("up to 1 logins") for line in printed[-1]["not_restored"])
    assert any("outbox" in line for line in printed[-1]["not_restored"])
    assert not any("operators" in line for line in printed[-1]["not_restored"])
    await there.dispose()


async def test_without_a_mark_nothing_is_restored(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    async with place.resources.engine.begin() as tx:
        await tx.execute(text("delete from log_marks"))
    status, printed = await restored(place.settings, capsys)
    assert (status, printed[0]["kind"]) == (1, "refused")
    assert "no mark" in printed[0]["reason"]
    assert await pauses(place.resources.engine) == []


async def test_a_dry_run_changes_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    await place.publish(create(uuid4(), owner=None))
    await place.mark()
    await place.publish(create(uuid4(), owner=None))
    status, printed = await restored(place.settings, capsys, dry_run=True)
    assert (status, [line["kind"] for line in printed]) == (0, ["plan"])
    assert printed[0]["events"] >= 2
    assert await pauses(place.resources.engine) == []
    assert await count(place.resources.engine, "select count(*) from campaigns") == 0


async def test_a_restore_begins_although_others_publish_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time that it looks for its mark, the last chunk of the log is a later one."""
    await place.publish(reported(uuid4(), 1))
    publish_all = Publisher.publish_all

    async def publish_more(publisher: Publisher, messages: Sequence[Message]) -> Any:
        results = await publish_all(publisher, messages)
        for number in range(3):
            await publish_all(publisher, [build_message(reported(uuid4(), number))])
        return results

    monkeypatch.setattr(Publisher, "publish_all", publish_more)
    link = BrokerConnection(place.settings, "test:log")
    try:
        last = await find_last(link, 10)
        assert last is not None
        assert await mark_start(place.resources, link, last + 1) == last + 1
    finally:
        await link.close()


async def test_a_log_that_begins_after_the_mark_or_is_another_one_is_told(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    await place.publish(create(uuid4(), owner=None))
    await place.mark()
    engine = place.resources.engine
    async with engine.begin() as tx:
        await tx.execute(text("update log_marks set settled_offset = -7"))
    status, printed = await restored(place.settings, capsys)
    assert status == 1
    assert "7 events before it are needed and gone" in printed[0]["reason"]
    status, printed = await restored(place.settings, capsys, accept_gap=True)
    assert (status, printed[0]["missing"]) == (0, 7)
    async with engine.begin() as tx:
        await tx.execute(text("update log_marks set end_offset = 1000000"))
    status, printed = await restored(place.settings, capsys)
    assert status == 1
    assert "not the log of this database" in printed[0]["reason"]


async def test_while_a_worker_that_heeds_no_pause_reads_nothing_is_restored(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_command, "PAUSE_SECONDS", 0.5)
    await place.publish(create(uuid4(), owner=None))
    await place.mark()
    link = BrokerConnection(place.settings, "test:other")
    channel = await link.open_channel()
    await channel.basic_consume("campaigns.apply", take)
    status, printed = await restored(place.settings, capsys)
    await link.close()
    assert status == 1
    assert "campaigns.apply" in printed[-1]["reason"]
    assert await pauses(place.resources.engine) == []


async def take(_: object) -> None:
    """Take a message and do nothing about it."""


async def test_the_command_asks_what_it_needs_to_know() -> None:
    command = ("infra.commands", "restore", "--from-log", "--json")
    done = await asyncio.to_thread(run_module, *command, env=os.environ)
    assert done.returncode == 2
    assert "--yes" in done.stderr
