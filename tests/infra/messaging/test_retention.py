"""What the relay clears away, and what it keeps."""

import asyncio
from datetime import timedelta

from sqlalchemy import text

from events.envelope import now
from infra.messaging.retention import ENDED_SESSIONS_KEPT, delete_expired
from infra.resources import Resources
from tests.infra.ledger import until

OLD_MARK = text("""
    insert into inbox (consumer, key, digest, handled_at)
    values ('q', gen_random_uuid(), gen_random_uuid(), now() - interval '1 year')
""")
SESSION = text("""
    insert into sessions (id, user_id, started_at, last_used_at)
    select :id, id, :at, :at from users
""")
USER = text("""
    insert into users (id, email, password_hash, role)
    values (gen_random_uuid(), 'ada@example.com', 'h', 'viewer')
""")
LEFT = text("select (select count(*) from inbox), array(select id from sessions order by id)")


async def test_old_marks_and_sessions_long_over_are_cleared_away(resources: Resources) -> None:
    life = timedelta(seconds=resources.settings.refresh_token_seconds)
    ages = {
        "expired": life,
        "long over": life + ENDED_SESSIONS_KEPT + timedelta(minutes=1),
        "live": timedelta(0),
    }
    async with resources.engine.begin() as tx:
        await tx.execute(OLD_MARK)
        await tx.execute(USER)
        for name, age in ages.items():
            await tx.execute(SESSION, {"id": name, "at": now() - age})

    async def cleared() -> bool:
        async with resources.engine.connect() as tx:
            marks, sessions = (await tx.execute(LEFT)).one()
        return (marks, sessions) == (0, ["expired", "live"])

    stop = asyncio.Event()
    clearing = asyncio.create_task(delete_expired(resources, stop))
    await until(cleared)
    stop.set()
    await clearing


LETTERS = text("""
    insert into dead_letters (id, queue, routing_key, body, properties, reason, error_class, stage,
        worker, attempts, first_failed_at, last_failed_at, fingerprint, state, acted_at)
    select gen_random_uuid(), 'q', 'k', 'body', '{}', 'r', 'c', 'p', 'w', 1, at, at, 'f', state,
        case when state <> 'open' then at end
    from unnest(array['open', 'replayed', 'discarded']) as state,
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
KEPT_ROWS = text("""
    select array(select state from dead_letters order by state),
           array(select state from operations order by state), (select count(*) from audit)
""")


async def test_what_has_ended_is_deleted_in_time_and_what_is_open_stays(
    resources: Resources,
) -> None:
    async with resources.engine.begin() as tx:
        for filling in (LETTERS, OPERATIONS, ACTS):
            await tx.execute(filling)

    async def cleared() -> bool:
        async with resources.engine.connect() as tx:
            letters, operations, acts = (await tx.execute(KEPT_ROWS)).one()
        open_ones = ["discarded", "open", "open", "replayed"]
        return (letters, operations, acts) == (open_ones, ["dead", "done", "pending", "pending"], 1)

    stop = asyncio.Event()
    clearing = asyncio.create_task(delete_expired(resources, stop))
    await until(cleared)
    stop.set()
    await clearing
