"""Accounts in Postgres. E-mail addresses come normalised (``infra.emails``)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.tables import users
from schemas.accounts import User

# In the order of the addresses, so that two batches cannot wait for each other.
INSERT = text("""
    insert into users (id, email, password_hash, role)
    select id, email, password_hash, role
    from unnest(cast(:ids as uuid[]), cast(:emails as text[]),
                cast(:hashes as text[]), cast(:roles as text[]))
        as asked (id, email, password_hash, role)
    order by email
    on conflict (email) do nothing
    returning id
""")
REPLACE_HASH = text("""
    update users set password_hash = :new where id = :id and password_hash = :old
""")
PUT_ADMIN = text("""
    insert into users (id, email, password_hash, role) values (:id, :email, :hash, 'admin')
    on conflict (email) do update set password_hash = excluded.password_hash, role = 'admin'
    returning id
""")


@dataclass(frozen=True, slots=True)
class Account:
    """A user and the hash of the password, which leaves the auth worker never."""

    user: User
    password_hash: str = field(repr=False)


async def insert_accounts(tx: AsyncConnection, accounts: Sequence[Account]) -> set[UUID]:
    """Add accounts whose addresses are free, and tell the ids of those that were added.

    Race-free: who loses an address to a transaction under way waits for its end.
    """
    rows = await tx.execute(
        INSERT,
        {
            "ids": [account.user.id for account in accounts],
            "emails": [account.user.email for account in accounts],
            "hashes": [account.password_hash for account in accounts],
            "roles": [account.user.role for account in accounts],
        },
    )
    return {row.id for row in rows}


async def find_account(tx: AsyncConnection, key: str | UUID) -> Account | None:
    """Find an account by its normalised address or its id."""
    column = users.c.id if isinstance(key, UUID) else users.c.email
    row = (await tx.execute(select(users).where(column == key))).one_or_none()
    return (
        Account(User.model_validate(row, from_attributes=True), row.password_hash) if row else None
    )


async def find_user(tx: AsyncConnection, user_id: UUID) -> User | None:
    """Find an account by its id."""
    query = select(users.c.id, users.c.email, users.c.role).where(users.c.id == user_id)
    row = (await tx.execute(query)).one_or_none()
    return User.model_validate(row, from_attributes=True) if row else None


async def replace_password_hash(tx: AsyncConnection, user_id: UUID, old: str, new: str) -> bool:
    """Write another hash in place of the one that was seen; False when that one is gone."""
    changed = await tx.execute(REPLACE_HASH, {"id": user_id, "old": old, "new": new})
    return changed.rowcount == 1


async def put_admin(tx: AsyncConnection, account: Account) -> UUID:
    """Make the account an admin with this password, new or not; tells its id."""
    values = {
        "id": account.user.id,
        "email": account.user.email,
        "hash": account.password_hash,
    }
    admin_id: UUID = (await tx.execute(PUT_ADMIN, values)).scalar_one()
    return admin_id
