"""The console: how fast each page answers among 100,000 dead letters and 10 million inbox rows.

The goal is 200 ms. Pages are opened one after another, as by one person, with the live samples that
the console takes every two seconds meanwhile.
"""

import time
from collections.abc import Awaitable, Callable
from statistics import quantiles
from uuid import uuid4

from sqlalchemy import text

from infra.amqp.topology import WORK_QUEUE_NAMES
from infra.resources import open_resources
from infra.storage.users import UserRow, insert_users
from schemas.users import User
from tests.bench.results import Result
from tests.bench.stage import Stage, say, server
from tests.workers.ops.conftest import PASSWORD, Visit, visiting
from workers.ops.routes import ROUTES

LETTERS, MARKS = 100_000, 10_000_000
GROUPS = 200
TIMES = 20  # that each page is opened
STUCK = 1800.0  # seconds
EMPTY = "truncate dead_letters, dead_letter_counts, dead_letter_groups, inbox cascade"
FILL_LETTERS = """
    insert into dead_letters (id, queue, routing_key, message_id, type, source, event_id, body,
        properties, reason, error_class, stage, worker, attempts, first_failed_at, last_failed_at,
        fingerprint)
    select gen_random_uuid(), ($3::text[])[1 + g % cardinality($3::text[])],
        'campaign.metrics_reported.v1.claude', 'e-' || n, 'campaign.metrics_reported.v1',
        'urn:bench:crm', 'e-' || n, convert_to('{"specversion": "1.0", "id": "e-' || n
        || '", "source": "urn:bench:crm", "type": "campaign.metrics_reported.v1", "data": {}}',
        'UTF8'), '{"content_type": "application/cloudevents+json", "headers": {}}',
        'data.clicks: Field required', 'INVALID_EVENT', 'decode', 'bench', 1,
        now() - (n % 604800) * interval '1 s', now() - (n % 604800) * interval '1 s',
        substr(md5(g::text), 1, 12)
    from (select n, n % $2 as g from generate_series(1, $1) as n) as numbered
"""
FILL_INBOX = """
    insert into inbox (consumer, key, digest, handled_at)
    select ($2::text[])[1 + n % cardinality($2::text[])], gen_random_uuid(), gen_random_uuid(),
        now() - (n::float8 / $1) * interval '30 days'
    from generate_series(1, $1::bigint) as n
"""
ONE_LETTER = "select id, event_id, fingerprint from dead_letters order by id limit 1"

Step = tuple[str, Callable[[Stage], Awaitable[list[Result]]]]


def steps(share: float) -> list[Step]:
    """List the measurement; ``share`` makes the tables smaller."""

    async def pages(stage: Stage) -> list[Result]:
        await _fill(stage, int(LETTERS * share), int(MARKS * share))
        return await _measure(stage)

    return [("console: pages", pages)]


async def _fill(stage: Stage, letters: int, marks: int) -> None:
    say(f"filling {letters:,} dead letters and {marks:,} inbox rows")
    queues = list(WORK_QUEUE_NAMES)
    await stage.database.execute(EMPTY)
    await stage.database.execute(FILL_LETTERS, letters, GROUPS, queues, timeout=STUCK)
    await stage.database.execute(FILL_INBOX, marks, queues, timeout=STUCK)
    for table in ("dead_letters", "dead_letter_counts", "inbox"):
        await stage.database.execute(f"vacuum analyze {table}", timeout=STUCK)
    await stage.database.execute("checkpoint", timeout=STUCK)


async def _measure(stage: Stage) -> list[Result]:
    admin = await _make_admin(stage)
    async with (
        server(stage.settings, ("python", "-m", "workers.auth")),
        server(stage.settings, ("python", "-m", "workers.ops")) as port,
        visiting(f"http://127.0.0.1:{port}") as visit,
    ):
        status, page = await visit.log_in(admin.email)
        if status != 200:
            raise RuntimeError(f"nobody was logged in: {status} {page[:300]}")
        results = []
        for name, path in (await _list_pages(stage)).items():
            spent = sorted([await _open(visit, path) for _ in range(TIMES + 1)][1:])
            results.append(Result("console", name, "ms p50", spent[len(spent) // 2]))
            results.append(Result("console", name, "ms p95", quantiles(spent, n=20)[-1]))
        return results


async def _list_pages(stage: Stage) -> dict[str, str]:
    """List every page without a parameter, and those of a letter, its group and its event."""
    plain = [route.path for route in ROUTES if route.method == "GET" and "{" not in route.path]
    letter = await stage.database.fetchrow(ONE_LETTER)
    if letter is None:
        raise RuntimeError("there is no dead letter")
    return {
        **{path: path for path in plain},
        "/dead-letters, a group": f"/dead-letters?group={letter['fingerprint']}",
        "/dead-letters, a text": "/dead-letters?text=e-4242",
        "/dead-letters, 24 h of a stage": "/dead-letters?since=24h&stage=decode",
        "a dead letter": f"/dead-letters/{letter['id']}",
        "an event": f"/events/{letter['event_id']}?source=urn:bench:crm",
        "/events, an id": f"/events?q={letter['event_id']}",
    }


async def _open(visit: Visit, path: str) -> float:
    """Open a page, and give the milliseconds until all of it is there."""
    began = time.perf_counter()
    status, page = await visit.get(path)
    spent = (time.perf_counter() - began) * 1000
    if status not in (200, 404):  # an event that is only a dead letter may have no page
        raise RuntimeError(f"{path}: {status} {page[:300]}")
    return spent


async def _make_admin(stage: Stage) -> User:
    admin = User(id=uuid4(), email=f"{uuid4().hex}@example.com", role="admin")
    async with open_resources(stage.settings, "bench-console") as resources:
        row = UserRow(admin, await resources.passwords.hash(PASSWORD))
        async with resources.engine.begin() as tx:
            await insert_users(tx, [row])
            await tx.execute(text("delete from pauses"))
    return admin
