"""Accounts in Postgres. E-mail addresses come normalised (``infra.security.email_address``)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, func, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import users
from schemas.users import Role, User, UserSummary

# In the order of the addresses, so that two batches cannot wait for each other.
INSERT = text("""
    insert into users (id, email, password_hash, role, registration_id)
    select id, email, password_hash, role, registration_id
    from unnest(cast(:ids as uuid[]), cast(:emails as text[]), cast(:hashes as text[]),
                cast(:roles as text[]), cast(:registrations as uuid[]))
        as asked (id, email, password_hash, role, registration_id)
    order by email
    on conflict (email) do nothing
    returning id
""")
REPLACE_HASH = text("""
    update users set password_hash = :new where id = :id and password_hash = :old
""")
PUT_ADMIN = text("""
    insert into users (id, email, password_hash, role) values (:id, :email, :hash, 'admin')
    on conflict (email) do update
        set password_hash = excluded.password_hash, role = 'admin', registration_id = null
    returning id
""")


SELECT_SUMMARY = select(*(users.c[name] for name in UserSummary.model_fields))
ADVISORY_LOCK = text("select pg_advisory_xact_lock(:line)")
ADMIN_LOCK_KEY = 0x6164_7265_6C61_79  # the name of the line; Postgres knows such locks by number


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user and the hash of the password, which leaves the auth worker never.

    ``registration_id`` is what a repetition of the registration has in common with it.
    """

    user: User
    password_hash: str = field(repr=False)
    registration_id: UUID | None = field(default=None, repr=False)


async def insert_users(tx: AsyncConnection, accounts: Sequence[UserRow]) -> set[UUID]:
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
            "registrations": [account.registration_id for account in accounts],
        },
    )
    return {row.id for row in rows}


async def find_user_row(tx: AsyncConnection, key: str | UUID) -> UserRow | None:
    """Find an account by its normalised address or its id."""
    column = users.c.id if isinstance(key, UUID) else users.c.email
    row = (await tx.execute(select(users).where(column == key))).one_or_none()
    if row is None:
        return None
    user = User.model_validate(row, from_attributes=True)
    return UserRow(user, row.password_hash, row.registration_id)


async def find_user(tx: AsyncConnection, user_id: UUID) -> User | None:
    """Find an account by its id."""
    query = select(users.c.id, users.c.email, users.c.role).where(users.c.id == user_id)
    row = (await tx.execute(query)).one_or_none()
    return User.model_validate(row, from_attributes=True) if row else None


async def read_user(tx: AsyncConnection, user_id: UUID) -> UserSummary | None:
    """Read an account as it is listed."""
    row = (await tx.execute(SELECT_SUMMARY.where(users.c.id == user_id))).one_or_none()
    return UserSummary.model_validate(row, from_attributes=True) if row else None


async def list_users(
    tx: AsyncConnection, *, role: Role | None = None, page: int, per_page: int
) -> tuple[list[UserSummary], int]:
    """Read a page (counted from 1) of accounts, the newest first, and how many there are."""
    conditions = [] if role is None else [users.c.role == role]
    total = await tx.execute(select(func.count()).select_from(users).where(*conditions))
    query = (
        SELECT_SUMMARY.where(*conditions)
        .order_by(users.c.created_at.desc(), users.c.id.desc())
        .limit(per_page)
        .offset((page - 1) * per_page)
    )
    rows = await tx.execute(query)
    return [
        UserSummary.model_validate(row, from_attributes=True) for row in rows
    ], total.scalar_one()


async def lock_and_get_admin(tx: AsyncConnection, user_id: UUID | None) -> User | None:
    """Find who gives an order, if it is an admin by now.

    Waits until no other transaction carries out an admin's order, and keeps the others
    waiting until the commit: so nobody's order counts who is being demoted.
    """
    await tx.execute(ADVISORY_LOCK, {"line": ADMIN_LOCK_KEY})
    user = await find_user(tx, user_id) if user_id else None
    return user if user and user.role == "admin" else None


async def find_roles(tx: AsyncConnection, ids: Collection[UUID]) -> dict[UUID, Role]:
    """Read what accounts may do; those that do not exist are left out."""
    wanted = any_(literal(sorted(ids), ARRAY(Uuid)))
    rows = await tx.execute(select(users.c.id, users.c.role).where(users.c.id == wanted))
    return {row.id: row.role for row in rows}


async def count_admins(tx: AsyncConnection) -> int:
    """Count the admins."""
    query = select(func.count()).select_from(users).where(users.c.role == "admin")
    found: int = (await tx.execute(query)).scalar_one()
    return found


async def set_role(tx: AsyncConnection, user: User) -> None:
    """Give an account the role that ``user`` says."""
    await tx.execute(update(users).where(users.c.id == user.id).values(role=user.role))


async def replace_password_hash(tx: AsyncConnection, user_id: UUID, old: str, new: str) -> bool:
    """Write another hash in place of the one that was seen; False when that one is gone."""
    changed = await tx.execute(REPLACE_HASH, {"id": user_id, "old": old, "new": new})
    return changed.rowcount == 1


async def put_admin(tx: AsyncConnection, account: UserRow) -> UUID:
    """Make the account an admin with this password, new or not; tells its id."""
    values = {
        "id": account.user.id,
        "email": account.user.email,
        "hash": account.password_hash,
    }
    admin_id: UUID = (await tx.execute(PUT_ADMIN, values)).scalar_one()
    return admin_id
