"""What the relay clears away, and what it keeps."""

import asyncio
from datetime import timedelta

from sqlalchemy import text

from events.base import now
from infra.resources import Resources
from infra.watch import KEPT, forget_handled
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
    ages = {"expired": life, "long over": life + KEPT + timedelta(minutes=1), "live": timedelta(0)}
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
    clearing = asyncio.create_task(forget_handled(resources, stop))
    await until(cleared)
    stop.set()
    await clearing
