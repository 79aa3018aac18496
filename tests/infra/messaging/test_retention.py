"""What the relay deletes, what it keeps, and that it keeps up."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from events.envelope import now
from infra.messaging.retention import (
    ENDED_SESSIONS_KEPT,
    INBOX_MARGIN,
    Deletion,
    delete_all,
    delete_expired,
    retentions,
)
from infra.resources import Resources
from infra.storage.event_index_partitions import create_partition, drop_partitions
from infra.storage.expired_rows import INBOX, delete_expired_rows
from tests.infra.ledger import until

MARKS = text("""
    insert into inbox (consumer, key, digest, handled_at)
    select 'q', gen_random_uuid(), gen_random_uuid(), now() - cast(:age as interval)
    from generate_series(1, :number)
""")
COUNT_MARKS = text("select count(*) from inbox")
SESSION = text("""
    insert into sessions (id, user_id, started_at, last_used_at)
    select :id, id, :at, :at from users
""")
USER = text("""
    insert into users (id, email, password_hash, role)
    values (gen_random_uuid(), 'ada@example.com', 'h', 'viewer')
""")
LEFT = text("select (select count(*) from inbox), array(select id from sessions order by id)")


@asynccontextmanager
async def deleting(
    resources: Resources, days: Mapping[str, int] | None = None
) -> AsyncIterator[None]:
    """Run the deletion beside a block, with other settings."""
    settings = resources.settings.model_copy(update=days or {})
    stop = asyncio.Event()
    replaced = {f: getattr(resources, f) for f in Resources.__dataclass_fields__}
    task = asyncio.create_task(delete_expired(Resources(**replaced | {"settings": settings}), stop))
    try:
        yield
    finally:
        stop.set()
        await task


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"adrelay_retention_{name}", labels) or 0


async def run_once(resources: Resources) -> bool:
    settings, engine = resources.settings, resources.engine
    deletions = [Deletion(engine, retention) for retention in retentions(settings)]
    return await delete_all(deletions, asyncio.Event())


async def count(resources: Resources) -> int:
    async with resources.engine.connect() as tx:
        return int((await tx.execute(COUNT_MARKS)).scalar_one())


async def test_old_marks_and_sessions_long_over_are_deleted(resources: Resources) -> None:
    life = timedelta(seconds=resources.settings.refresh_token_seconds)
    ages = {
        "expired": life,
        "long over": life + ENDED_SESSIONS_KEPT + timedelta(minutes=1),
        "live": timedelta(0),
    }
    async with resources.engine.begin() as tx:
        await tx.execute(MARKS, {"age": timedelta(days=365), "number": 1})
        await tx.execute(USER)
        for name, age in ages.items():
            await tx.execute(SESSION, {"id": name, "at": now() - age})

    async def is_done() -> bool:
        async with resources.engine.connect() as tx:
            marks, sessions = (await tx.execute(LEFT)).one()
        return (marks, sessions) == (0, ["expired", "live"])

    async with deleting(resources):
        await until(is_done)


LETTERS = text("""
    insert into dead_letters (id, queue, routing_key, body, properties, reason, error_class, stage,
        worker, attempts, first_failed_at, last_failed_at, fingerprint, state, acted_at)
    select gen_random_uuid(), queue, 'k', 'body', '{}', 'r', 'c', 'p', 'w', 1, at, at, 'f', state,
        case when state <> 'open' then at end
    from unnest(array['open', 'replayed', 'discarded']) as state,
        unnest(array['q', 'webhooks.unrecognised']) as queue,
        unnest(array[now(), now() - interval '31 days']) as at
""")
OPERATIONS = text("""
    insert into operations (id, state, updated_at)
    select state || at, state, at from unnest(array['pending', 'done', 'dead']) as state,
        unnest(array[now(), now() - interval '91 days']) as at
""")
ACTS = text("""
    insert into audit (id, at, action, outcome)
    select gen_random_uuid(), at, 'a', 'ok' from unnest(array[now(), now() - interval '401 days'])
        as at
""")
WAITING = text("""
    insert into waiting_events (queue, key, kind, tier, due_at, reason, error_class, attempts,
        written_at)
    select 'q', gen_random_uuid(), 'retried', '1s', at, 'r', 'c', 1, at
    from unnest(array[now(), now() - interval '8 days']) as at
""")
SUSPECTS = text("""
    insert into suspects (queue, key, marked_at)
    select 'q', gen_random_uuid(), at from unnest(array[now(), now() - interval '31 days']) as at
""")
KEPT_ROWS = text("""
    select array(select state || ' ' || queue from dead_letters order by 1) as letters,
           array(select state from operations order by state) as operations,
           (select count(*) from audit) as acts, (select count(*) from waiting_events) as waiting,
           (select count(*) from suspects) as suspects
""")


async def kept_rows(resources: Resources) -> Mapping[str, Any]:
    async with resources.engine.connect() as tx:
        return dict((await tx.execute(KEPT_ROWS)).mappings().one())


async def test_what_has_ended_is_deleted_in_time_and_what_is_open_stays(
    resources: Resources,
) -> None:
    deleted = metric("deleted_total", table="operations")
    async with resources.engine.begin() as tx:
        for filling in (LETTERS, OPERATIONS, ACTS, WAITING, SUSPECTS):
            await tx.execute(filling)
    assert await run_once(resources)
    rows = await kept_rows(resources)
    open_ones = ["open q", "open q", "open webhooks.unrecognised", "open webhooks.unrecognised"]
    closed = [f"{s} {q}" for s in ("discarded", "replayed") for q in ("q", "webhooks.unrecognised")]
    assert rows["letters"] == sorted([*open_ones, *closed])
    assert rows["operations"] == ["dead", "done", "pending", "pending"]
    assert (rows["acts"], rows["waiting"], rows["suspects"]) == (1, 1, 1)
    assert metric("deleted_total", table="operations") - deleted == 2
    assert 0 <= metric("oldest_seconds", table="operations") < 60


async def test_unrecognised_webhooks_have_days_of_their_own(resources: Resources) -> None:
    async with resources.engine.begin() as tx:
        await tx.execute(LETTERS)

    async def is_done() -> bool:
        letters = (await kept_rows(resources))["letters"]
        return [x for x in letters if x.startswith("replayed")] == [
            "replayed q",
            "replayed q",
            "replayed webhooks.unrecognised",
        ]

    async with deleting(resources, {"dead_letter_days": 60}):
        await until(is_done)


OPEN_LETTER = text("""
    insert into dead_letters (id, queue, routing_key, body, properties, reason, error_class, stage,
        worker, attempts, first_failed_at, last_failed_at, fingerprint)
    values (gen_random_uuid(), 'q', 'k', 'body', '{}', 'r', 'c', 'p', 'w', 1,
        now() - cast(:age as interval), now(), 'f')
""")
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("letter_age", "mark_age", "kept"),
    [
        (None, 30 * DAY, 1),  # the margin: a replay may still be on its way
        (None, 32 * DAY, 0),
        (20 * DAY, 45 * DAY, 1),  # within 30 days before the letter's first failure
        (20 * DAY, 60 * DAY, 0),
        (40 * DAY, 45 * DAY, 0),  # such a letter is replayed by force only
    ],
    ids=str,
)
async def test_a_mark_that_an_open_dead_letter_needs_for_its_replay_stays(
    resources: Resources, letter_age: timedelta | None, mark_age: timedelta, kept: int
) -> None:
    assert resources.settings.inbox_days == 30
    async with resources.engine.begin() as tx:
        await tx.execute(MARKS, {"age": mark_age, "number": 1})
        if letter_age is not None:
            await tx.execute(OPEN_LETTER, {"age": letter_age})
    await run_once(resources)
    assert await count(resources) == kept


async def test_a_batch_is_small_and_the_deletion_goes_on_until_nothing_is_left(
    resources: Resources,
) -> None:
    number, age = 30_000, timedelta(days=365)
    async with resources.engine.begin() as tx:
        await tx.execute(MARKS, {"age": age, "number": number})
        await tx.execute(MARKS, {"age": timedelta(0), "number": 10})
    deletion = Deletion(resources.engine, retentions(resources.settings)[0])
    assert await deletion.delete_batch(now()) is not None
    assert 0 < number + 10 - await count(resources) <= 1000
    assert await run_once(resources)
    assert await count(resources) == 10
    assert metric("oldest_seconds", table="inbox") < 60


async def test_rows_that_another_relay_holds_are_not_waited_for(resources: Resources) -> None:
    async with resources.engine.begin() as tx:
        await tx.execute(MARKS, {"age": timedelta(days=365), "number": 20})
    cutoff = now() - timedelta(days=31)
    async with resources.engine.begin() as first, resources.engine.begin() as second:
        assert await delete_expired_rows(first, INBOX, cutoff, 5) == 5
        assert await delete_expired_rows(second, INBOX, cutoff, 50) == 15
    assert await count(resources) == 0


async def test_a_table_that_cannot_be_read_does_not_hold_up_the_others(
    resources: Resources,
) -> None:
    async with resources.engine.begin() as tx:
        await tx.execute(MARKS, {"age": timedelta(days=365), "number": 1})
        await tx.exec_driver_sql("alter table audit rename to elsewhere")
    try:
        assert not await run_once(resources)
        assert await count(resources) == 0
    finally:
        async with resources.engine.begin() as tx:
            await tx.exec_driver_sql("alter table elsewhere rename to audit")


PLAN = "explain {}"


async def test_a_full_inbox_is_read_by_its_index_and_never_as_a_whole(
    resources: Resources,
) -> None:
    async with resources.engine.begin() as tx:
        await tx.execute(MARKS, {"age": timedelta(days=20), "number": 50_000})
        await tx.execute(MARKS, {"age": timedelta(days=365), "number": 1000})
    async with resources.engine.connect() as tx:
        await tx.execute(text("analyze inbox"))
        for statement in (INBOX.deletion, INBOX.oldest):
            planned = text(PLAN.format(statement.text))
            values = {"cutoff": now() - INBOX_MARGIN, "limit": 1000}
            names = statement.compile().params
            rows = await tx.execute(planned, {name: values[name] for name in names})
            plan = "\n".join(row[0] for row in rows)
            assert "inbox_expiry_idx" in plan
            assert "Seq Scan on inbox" not in plan


async def is_index_seen() -> bool:
    return DAY.total_seconds() < metric("oldest_seconds", table="event_index")


async def test_the_time_of_a_run_that_succeeded_is_exported(resources: Resources) -> None:
    before = metric("success_timestamp_seconds")

    async def is_exported() -> bool:
        return metric("success_timestamp_seconds") > before

    async with resources.engine.begin() as tx:
        await create_partition(tx, (now() - DAY).date())
    try:
        async with deleting(resources):
            await until(is_exported)
            await until(is_index_seen)
    finally:
        async with resources.engine.begin() as tx:
            await drop_partitions(tx, now() + 2 * DAY)
