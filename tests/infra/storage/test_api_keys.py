"""API keys: found by what a caller shows, never stored."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.storage.api_keys import (
    ParsedApiKey,
    find_api_key,
    generate_api_key,
    insert_api_key,
    list_api_keys,
    parse_api_key,
    read_api_key,
    revoke_api_key,
    update_last_used,
)
from infra.storage.users import UserRow, insert_users
from schemas.users import User

SCOPES = ("events:publish:*",)
SOURCES = ("urn:example:crm",)


async def owner(tx: AsyncConnection) -> UUID:
    user = User(id=uuid4(), email=f"{uuid4().hex}@example.com", role="manager")
    await insert_users(tx, [UserRow(user, "hash")])
    return user.id


async def enter(tx: AsyncConnection, key: ParsedApiKey, expires_at: datetime | None = None) -> UUID:
    owner_id = await owner(tx)
    assert await insert_api_key(
        tx,
        key,
        name="crm",
        owner_id=owner_id,
        scopes=SCOPES,
        sources=SOURCES,
        expires_at=expires_at,
    )
    return owner_id


async def test_a_key_has_its_owner_scopes_and_sources(engine: AsyncEngine) -> None:
    key = generate_api_key()
    async with engine.begin() as tx:
        owner_id = await enter(tx, key)
        found = await find_api_key(tx, key.key)
    assert found is not None
    assert (found.name, found.owner_id) == ("crm", owner_id)
    assert (found.scopes, found.sources) == (SCOPES, SOURCES)


async def test_the_key_itself_is_nowhere_in_the_table(engine: AsyncEngine) -> None:
    key = generate_api_key()
    async with engine.begin() as tx:
        await enter(tx, key)
        row = (await tx.execute(text("select api_keys::text from api_keys"))).scalar_one()
    assert key.prefix in row
    assert key.key.removeprefix(key.prefix) not in row


async def test_a_revoked_key_is_not_found(engine: AsyncEngine) -> None:
    key = generate_api_key()
    async with engine.begin() as tx:
        await enter(tx, key)
        found = await find_api_key(tx, key.key)
        assert found is not None
        assert await revoke_api_key(tx, found.id)
        assert await find_api_key(tx, key.key) is None
        assert not await revoke_api_key(tx, found.id)


async def test_a_key_is_valid_until_it_expires(engine: AsyncEngine) -> None:
    now = datetime.now(UTC)
    async with engine.begin() as tx:
        for seconds, valid in [(-1, False), (60, True)]:
            key = generate_api_key()
            await enter(tx, key, now + timedelta(seconds=seconds))
            assert (await find_api_key(tx, key.key) is not None) == valid


async def test_a_key_is_inserted_once(engine: AsyncEngine) -> None:
    key = generate_api_key()
    async with engine.begin() as tx:
        owner_id = await enter(tx, key)
        assert not await insert_api_key(
            tx, key, name="again", owner_id=owner_id, scopes=SCOPES, sources=SOURCES
        )


async def test_a_use_is_written_once_a_minute_and_never_back(engine: AsyncEngine) -> None:
    minute = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
    async with engine.begin() as tx:
        key = generate_api_key()
        await enter(tx, key)
        found = await find_api_key(tx, key.key)
        assert found is not None
        for seconds, written in [(5, 5), (59, 5), (60, 60), (61, 60), (0, 60)]:
            await update_last_used(tx, {found.id: minute + timedelta(seconds=seconds)})
            entry = await read_api_key(tx, found.id)
            assert entry is not None
            assert entry.last_used_at == minute + timedelta(seconds=written)


async def test_a_use_that_another_transaction_is_writing_is_skipped(engine: AsyncEngine) -> None:
    keys = [generate_api_key(), generate_api_key()]
    async with engine.begin() as tx:
        for key in keys:
            await enter(tx, key)
        ids = [found.id for key in keys if (found := await find_api_key(tx, key.key))]
    moment = datetime.now(UTC)
    async with engine.begin() as first, engine.begin() as second:
        await update_last_used(first, {ids[0]: moment})
        await update_last_used(second, dict.fromkeys(ids, moment))
    async with engine.connect() as tx:
        entries, total = await list_api_keys(tx, page=1, per_page=10)
    assert total == 2
    assert [entry.last_used_at for entry in entries] == [moment, moment]


@pytest.mark.parametrize(
    "presented",
    ["", "adr_", "adr_aaaaaaaa_short", "x" * 56, "adr_\udcff", generate_api_key().key + "\n"],
    ids=range(6),
)
async def test_text_that_is_no_key_is_not_found(engine: AsyncEngine, presented: str) -> None:
    async with engine.begin() as tx:
        assert await find_api_key(tx, presented) is None


def test_a_key_is_long_random_and_not_in_its_repr() -> None:
    one, two = generate_api_key(), generate_api_key()
    assert one.key != two.key
    assert one.prefix in one.key
    assert one.key not in repr(one)
    assert parse_api_key(one.key) == one


def test_text_that_is_no_key_is_rejected_without_being_repeated() -> None:
    with pytest.raises(ValueError, match="adr_") as refusal:
        parse_api_key("my own invention")
    assert "invention" not in str(refusal.value)
