"""A dead command is not replayed over a newer change of its campaign without ``force``."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from events.campaigns import get_campaign_id
from events.envelope import Event, encode
from handlers.campaigns.handlers import apply_commands
from infra.resources import Resources
from infra.settings import Settings
from infra.storage.dead_letters import DeadLetterRow
from tests.handlers.processing import handled
from tests.handlers.samples import create, delete, update
from tests.infra.commands.test_dead_letters import run_dead_letters
from tests.infra.ledger import count
from tests.workers.ingress.api.test_dead_letters import insert_dead_letters, make_dead_letter
from tests.workers.ingress.conftest import Person, body_of, error_of

QUEUE = "campaigns.apply"
SENT = "select count(*) from outbox where exchange = 'adrelay.back'"


def dead_command(
    command: Event, number: int, died: datetime, *, with_time: bool = True
) -> DeadLetterRow:
    return make_dead_letter(
        number,
        queue=QUEUE,
        routing_key=command.routing_key,
        type=command.type,
        source=command.source,
        event_id=command.id,
        body=encode(command, with_time=with_time),
        first_failed_at=died,
    )


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


@pytest.mark.parametrize("kind", ["update", "delete", "create", "create without an id"])
async def test_a_command_is_replayed_over_a_newer_change_only_by_force(
    client: aiohttp.ClientSession,
    admin: Person,
    engine: AsyncEngine,
    resources: Resources,
    kind: str,
) -> None:
    creation = create(None if "without" in kind else uuid4(), source="urn:acme:crm")
    campaign_id = get_campaign_id(creation)
    old: dict[str, Any] = {
        "update": update(campaign_id, name="Old", time=ago(50)),
        "delete": delete(campaign_id),
    }
    command = old.get(kind, creation)
    newer = update(campaign_id, name="New", time=ago(10))
    await handled(resources, apply_commands, [creation, newer])
    (path,) = await insert_dead_letters(engine, dead_command(command, 1, ago(40)))
    refused = await error_of(await client.post(f"{path}/replay", headers=admin.headers), 409)
    for part in (newer.id, newer.type, newer.source, newer.time.isoformat(), "version 2"):
        assert part in refused["message"]
    assert await count(engine, SENT) == 0
    forced = await client.post(f"{path}/replay?force=true", headers=admin.headers)
    await body_of(forced, 200)
    assert await count(engine, SENT) == 1


async def test_the_command_line_names_the_newer_change_and_sends_the_others(
    settings: Settings, engine: AsyncEngine, resources: Resources
) -> None:
    changed, quiet = create(uuid4()), create(uuid4())
    await handled(resources, apply_commands, [changed, quiet], ago(100))
    # It changes nothing, but says that what is there is wanted.
    newer = update(get_campaign_id(changed), status="active", time=ago(10))
    await handled(resources, apply_commands, [newer])
    await insert_dead_letters(
        engine,
        dead_command(
            update(get_campaign_id(changed), status="paused"), 1, ago(40), with_time=False
        ),
        dead_command(update(get_campaign_id(quiet), status="paused"), 2, ago(40), with_time=False),
        make_dead_letter(3, queue=QUEUE),  # what cannot be read dies again and overrules nothing
    )
    status, lines = await run_dead_letters(settings, "replay", "--queue", QUEUE)
    assert status == 1
    assert await count(engine, SENT) == 2
    [refused] = [line for line in lines if "newer change" in str(line)]
    assert newer.id in str(refused)
    assert (await run_dead_letters(settings, "replay", "--queue", QUEUE, "--force"))[0] == 0
    assert await count(engine, SENT) == 3


async def test_a_change_of_the_same_moment_is_newer_if_its_sender_says_so(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine, resources: Resources
) -> None:
    creation = create(uuid4())
    campaign_id = get_campaign_id(creation)
    newer = update(campaign_id, name="New", time=ago(10))
    await handled(resources, apply_commands, [creation, newer], ago(9))
    before, after = await insert_dead_letters(
        engine,
        dead_command(update(campaign_id, name="Old", time=ago(11)), 1, ago(8)),
        dead_command(update(campaign_id, name="Newest", time=ago(5)), 2, ago(4)),
    )
    await error_of(await client.post(f"{before}/replay", headers=admin.headers), 409)
    await body_of(await client.post(f"{after}/replay", headers=admin.headers), 200)
