"""The seed creates the admin, the key and the campaigns once, at any number of starts."""

from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import CampaignCreateRequested
from events.envelope import decode, now
from infra.amqp.permissions import INGRESS_USER
from infra.commands.seed import SAMPLE_CAMPAIGNS, seed, seeded_campaigns
from infra.security.passwords import Passwords
from infra.security.refresh_token_rotation import Session
from infra.settings import Settings
from infra.storage.api_keys import find_api_key, generate_api_key
from infra.storage.publishers import RegisteredPublisher, list_publishers
from infra.storage.sessions import insert_session
from infra.storage.users import UserRow, find_user_row
from schemas.types import PLATFORMS
from schemas.users import ClientInfo
from tests.fork_server import run_module
from tests.services import environment

KEY = generate_api_key()
PASSWORD = "the admin's long password"


@pytest.fixture
def seeding(settings: Settings) -> Settings:
    changes = {
        "adrelay_admin_email": "Admin@example.com",
        "adrelay_admin_password": SecretStr(PASSWORD),
        "adrelay_api_key": SecretStr(KEY.key),
        "adrelay_api_key_source": "urn:example:crm",
    }
    return settings.model_copy(update=changes)


async def rows(engine: AsyncEngine, sql: str) -> list[Any]:
    async with engine.connect() as tx:
        return list((await tx.execute(text(sql))).all())


async def admin(engine: AsyncEngine) -> UserRow:
    async with engine.connect() as tx:
        found = await find_user_row(tx, "admin@example.com")
        assert found is not None
        return found


async def test_an_admin_can_log_in(engine: AsyncEngine, seeding: Settings) -> None:
    await seed(seeding, engine)
    found = await admin(engine)
    assert found.user.role == "admin"
    assert await Passwords(seeding).verify(PASSWORD, found.password_hash)


@pytest.mark.parametrize(("password", "left"), [(PASSWORD, 1), (PASSWORD + "!", 0)])
async def test_only_another_password_ends_the_admins_sessions(
    engine: AsyncEngine, seeding: Settings, password: str, left: int
) -> None:
    await seed(seeding, engine)
    found = await admin(engine)
    session = Session("0" * 32, found.user.id)
    async with engine.begin() as tx:
        assert await insert_session(tx, session, found.password_hash, ClientInfo(), now())
    changed = {"adrelay_admin_password": SecretStr(password)}
    await seed(seeding.model_copy(update=changed), engine)
    assert len(await rows(engine, "select 1 from sessions where ended_at is null")) == left


async def test_the_key_may_publish_everything_for_its_source(
    engine: AsyncEngine, seeding: Settings
) -> None:
    await seed(seeding, engine)
    async with engine.connect() as tx:
        key = await find_api_key(tx, KEY.key)
    assert key is not None
    assert (key.scopes, key.sources) == (("events:publish:*",), ("urn:example:crm",))
    assert key.owner_id == (await admin(engine)).user.id


async def test_the_upstream_user_of_the_broker_may_do_what_the_key_may(
    engine: AsyncEngine, seeding: Settings
) -> None:
    url = SecretStr("amqp://crm%2F1:secret@broker/v")
    for _ in range(2):
        await seed(seeding.model_copy(update={"upstream_rabbitmq_url": url}), engine)
    async with engine.connect() as tx:
        found = await list_publishers(tx)
    owner = (await admin(engine)).user.id
    assert found == {"crm/1": RegisteredPublisher("crm/1", frozenset({"urn:example:crm"}), owner)}


async def test_where_upstream_systems_have_no_user_of_their_own_none_is_registered(
    engine: AsyncEngine, seeding: Settings
) -> None:
    for url in (None, seeding.rabbitmq_url, SecretStr(f"amqp://{INGRESS_USER}:x@broker/v")):
        await seed(seeding.model_copy(update={"upstream_rabbitmq_url": url}), engine)
    async with engine.connect() as tx:
        assert await list_publishers(tx) == {}


async def test_three_campaigns_are_asked_for_on_each_platform(
    engine: AsyncEngine, seeding: Settings
) -> None:
    await seed(seeding, engine)
    sent = await rows(engine, "select routing_key, message_id, body from outbox order by id")
    commands = [decode(CampaignCreateRequested, row.body) for row in sent]
    assert {row.routing_key for row in sent} == {"campaign.create_requested.v1"}
    assert len({row.message_id for row in sent}) == len(PLATFORMS) * len(SAMPLE_CAMPAIGNS)
    assert all(command.data.name.startswith("Seeded ") for command in commands)
    owner = str((await admin(engine)).user.id)
    assert {getattr(command, "ownerid", None) for command in commands} == {owner}


async def test_a_second_seed_changes_nothing(engine: AsyncEngine, seeding: Settings) -> None:
    await seed(seeding, engine)
    before = await rows(engine, "select * from users, api_keys")
    await seed(seeding, engine)
    assert await rows(engine, "select * from users, api_keys") == before
    (count,) = await rows(engine, "select count(*), count(distinct message_id) from outbox")
    assert count[1] == len(PLATFORMS) * len(SAMPLE_CAMPAIGNS)


async def test_campaigns_that_exist_or_existed_are_not_asked_for_again(
    engine: AsyncEngine, seeding: Settings
) -> None:
    await seed(seeding, engine)
    async with engine.begin() as tx:
        await tx.execute(text("truncate outbox"))
        insert = text("""
            insert into campaigns (id, platform, name, status, desired_status, budget_micros,
                                   currency, targeting, version, desired_version, deleted_at)
            values (:id, 'claude', 'x', 'deleted', 'active', 1, 'USD', '{}', 1, 1, now())
        """)
        owner = (await admin(engine)).user.id
        for command in seeded_campaigns(owner):
            await tx.execute(insert, {"id": command.data.campaign_id})
    await seed(seeding, engine)
    assert await rows(engine, "select 1 from outbox") == []


async def test_the_settings_password_is_the_admins(engine: AsyncEngine, seeding: Settings) -> None:
    await seed(seeding, engine)
    first = await admin(engine)
    changed = seeding.model_copy(update={"adrelay_admin_password": SecretStr("a fresh password!")})
    await seed(changed, engine)
    second = await admin(engine)
    assert second.user == first.user
    assert await Passwords(seeding).verify("a fresh password!", second.password_hash)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("adrelay_admin_email", None),
        ("adrelay_admin_password", None),
        ("adrelay_admin_password", SecretStr("short")),
        ("adrelay_api_key", None),
        ("adrelay_api_key", SecretStr("my own invention")),
    ],
)
async def test_what_is_missing_or_wrong_is_named_but_not_shown(
    engine: AsyncEngine, seeding: Settings, name: str, value: SecretStr | None
) -> None:
    with pytest.raises(ValueError, match=r"ADRELAY_|API key") as refusal:
        await seed(seeding.model_copy(update={name: value}), engine)
    assert value is None or value.get_secret_value() not in str(refusal.value)
    assert await rows(engine, "select 1 from users") == []


def test_the_command_seeds_and_says_what_it_lacks(seeding: Settings) -> None:
    done = run_module("infra.commands", "seed", env=environment(seeding))
    assert (done.returncode, done.stderr) == (0, "")
    lacking = {**environment(seeding), "ADRELAY_ADMIN_EMAIL": ""}
    refused = run_module("infra.commands", "seed", env=lacking)
    assert (refused.returncode, refused.stderr) == (
        1,
        "not seeded: ADRELAY_ADMIN_EMAIL is not set\n",
    )


async def test_the_admin_alone_needs_no_key_and_asks_for_no_campaign(
    engine: AsyncEngine, seeding: Settings
) -> None:
    alone = seeding.model_copy(update={"adrelay_api_key": None})
    for _ in range(2):
        await seed(alone, engine, only_admin=True)
    assert (await admin(engine)).user.role == "admin"
    assert await rows(engine, "select 1 from users") == [(1,)]
    assert await rows(engine, "select 1 from api_keys union all select 1 from outbox") == []


def test_the_command_makes_the_admin_alone(seeding: Settings) -> None:
    alone = {**environment(seeding), "ADRELAY_API_KEY": ""}
    for _ in range(2):
        done = run_module("infra.commands", "seed", "--admin", env=alone)
        assert (done.returncode, done.stderr) == (0, "")
