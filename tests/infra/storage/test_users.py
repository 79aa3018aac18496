"""Users: one for each address, the first that is inserted."""

import asyncio
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.storage.users import (
    UserRow,
    find_user,
    find_user_row,
    insert_users,
    lock_and_get_admin,
    put_admin,
    replace_password_hash,
    set_role,
)
from schemas.users import Role, User
from tests.infra.ledger import until


def account(email: str = "ada@example.com", hashed: str = "h1", role: Role = "manager") -> UserRow:
    return UserRow(User(id=uuid4(), email=email, role=role), hashed)


async def test_a_user_is_found_by_address_and_by_id(engine: AsyncEngine) -> None:
    ada = account()
    async with engine.begin() as tx:
        assert await insert_users(tx, [ada]) == {ada.user.id}
        assert await find_user_row(tx, "ada@example.com") == ada
        assert await find_user(tx, ada.user.id) == ada.user
        assert await find_user_row(tx, "eve@example.com") is None
        assert await find_user(tx, uuid4()) is None


async def test_of_two_users_with_one_address_in_a_batch_the_first_is_inserted(
    engine: AsyncEngine,
) -> None:
    one, two, other = account(), account(), account("bob@example.com")
    async with engine.begin() as tx:
        assert await insert_users(tx, [one, two, other]) == {one.user.id, other.user.id}


async def test_the_loser_of_a_race_for_an_address_sees_the_winner(engine: AsyncEngine) -> None:
    first, second = account(hashed="first"), account(hashed="second")
    async with engine.connect() as one, engine.connect() as two:
        await insert_users(one, [first])
        losing = asyncio.create_task(insert_users(two, [second]))
        done, _ = await asyncio.wait([losing], timeout=0.2)
        assert not done
        await one.commit()
        assert await losing == set()
        found = await find_user_row(two, "ada@example.com")
        assert found == first


async def test_a_hash_is_replaced_only_while_the_password_is_the_same(engine: AsyncEngine) -> None:
    ada = account(hashed="old")
    async with engine.begin() as tx:
        await insert_users(tx, [ada])
        await replace_password_hash(tx, ada.user.id, "another", "wrong")
        await replace_password_hash(tx, ada.user.id, "old", "new")
        found = await find_user_row(tx, ada.user.email)
        assert found is not None
        assert found.password_hash == "new"


async def test_a_user_becomes_admin_and_keeps_the_id(engine: AsyncEngine) -> None:
    ada = account(hashed="old")
    async with engine.begin() as tx:
        await insert_users(tx, [ada])
        assert await put_admin(tx, account(hashed="new")) == ada.user.id
        found = await find_user_row(tx, ada.user.email)
        assert found is not None
        assert (found.user.role, found.password_hash) == ("admin", "new")


def test_the_repr_of_a_user_does_not_contain_the_hash() -> None:
    assert "h1" not in repr(account())


async def test_an_admin_command_waits_for_the_one_before_and_sees_its_result(
    engine: AsyncEngine,
) -> None:
    admin = account("admin@example.com", role="admin")
    async with engine.begin() as tx:
        await insert_users(tx, [admin])
    async with engine.begin() as first, engine.begin() as second:
        assert await lock_and_get_admin(first, admin.user.id) == admin.user
        await set_role(first, admin.user.model_copy(update={"role": "viewer"}))
        waiting = asyncio.create_task(lock_and_get_admin(second, admin.user.id))
        await until(lambda: _someone_waits(engine))
        assert not waiting.done()
        await first.commit()
        assert await waiting is None


async def _someone_waits(engine: AsyncEngine) -> bool:
    query = """
        select 1 from pg_locks join pg_database on pg_database.oid = pg_locks.database
        where locktype = 'advisory' and not granted and datname = current_database()
    """
    async with engine.connect() as connection:
        return (await connection.execute(text(query))).first() is not None
