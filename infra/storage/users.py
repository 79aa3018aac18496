"""Queries for users. E-mail addresses are normalised (``infra.security.email_address``)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, func, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import users
from schemas.users import Role, User, UserSummary

# In the order of the addresses, so that two batches cannot deadlock.
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
ADVISORY_LOCK = text("select pg_advisory_xact_lock(:key)")
ADMIN_LOCK_KEY = 0x6164_7265_6C61_79  # "adrelay": of the lock that admins' commands take


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user with the hash of the password, which never leaves the auth worker.

    ``registration_id`` identifies the registration, so that a repetition of it is recognised.
    """

    user: User
    password_hash: str = field(repr=False)
    registration_id: UUID | None = field(default=None, repr=False)


async def insert_users(tx: AsyncConnection, rows: Sequence[UserRow]) -> set[UUID]:
    """Insert the users whose addresses are free and return the ids of the inserted ones.

    A concurrent insert of the same address waits for the end of the first transaction.
    """
    inserted = await tx.execute(
        INSERT,
        {
            "ids": [row.user.id for row in rows],
            "emails": [row.user.email for row in rows],
            "hashes": [row.password_hash for row in rows],
            "roles": [row.user.role for row in rows],
            "registrations": [row.registration_id for row in rows],
        },
    )
    return {row.id for row in inserted}


async def find_user_row(tx: AsyncConnection, key: str | UUID) -> UserRow | None:
    """Find a user, with the password hash, by normalised address or id."""
    column = users.c.id if isinstance(key, UUID) else users.c.email
    row = (await tx.execute(select(users).where(column == key))).one_or_none()
    if row is None:
        return None
    user = User.model_validate(row, from_attributes=True)
    return UserRow(user, row.password_hash, row.registration_id)


async def find_user(tx: AsyncConnection, user_id: UUID) -> User | None:
    """Find a user by id."""
    query = select(users.c.id, users.c.email, users.c.role).where(users.c.id == user_id)
    row = (await tx.execute(query)).one_or_none()
    return User.model_validate(row, from_attributes=True) if row else None


async def read_user(tx: AsyncConnection, user_id: UUID) -> UserSummary | None:
    """Read the list item of a user; None without such a user."""
    row = (await tx.execute(SELECT_SUMMARY.where(users.c.id == user_id))).one_or_none()
    return UserSummary.model_validate(row, from_attributes=True) if row else None


async def list_users(
    tx: AsyncConnection, *, role: Role | None = None, page: int, per_page: int
) -> tuple[list[UserSummary], int]:
    """Read a page (counted from 1) of users, the newest first, and their total number."""
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
    """Find the user of an admin command; None when the user is not an admin at present.

    Takes an advisory lock until the commit, so that admin commands run one after the other and a
    user who is being demoted cannot run one concurrently.
    """
    await tx.execute(ADVISORY_LOCK, {"key": ADMIN_LOCK_KEY})
    user = await find_user(tx, user_id) if user_id else None
    return user if user and user.role == "admin" else None


async def find_roles(tx: AsyncConnection, ids: Collection[UUID]) -> dict[UUID, Role]:
    """Read the roles of users; skips unknown ids."""
    matches = any_(literal(sorted(ids), ARRAY(Uuid)))
    rows = await tx.execute(select(users.c.id, users.c.role).where(users.c.id == matches))
    return {row.id: row.role for row in rows}


async def find_user_id(tx: AsyncConnection, email: str) -> UUID | None:
    """Find the id of an account by its normalised address."""
    return (await tx.execute(select(users.c.id).where(users.c.email == email))).scalar_one_or_none()


async def find_emails(tx: AsyncConnection, ids: Collection[UUID]) -> dict[UUID, str]:
    """Find the e-mail addresses of accounts; those that do not exist are left out."""
    rows = await tx.execute(select(users.c.id, users.c.email).where(users.c.id.in_(ids)))
    return {row.id: row.email for row in rows}


async def count_admins(tx: AsyncConnection) -> int:
    """Count the admins."""
    query = select(func.count()).select_from(users).where(users.c.role == "admin")
    found: int = (await tx.execute(query)).scalar_one()
    return found


async def set_role(tx: AsyncConnection, user: User) -> None:
    """Write the role of ``user``."""
    await tx.execute(update(users).where(users.c.id == user.id).values(role=user.role))


async def replace_password_hash(tx: AsyncConnection, user_id: UUID, old: str, new: str) -> bool:
    """Replace a password hash; False when the user no longer has ``old``."""
    changed = await tx.execute(REPLACE_HASH, {"id": user_id, "old": old, "new": new})
    return changed.rowcount == 1


async def put_admin(tx: AsyncConnection, row: UserRow) -> UUID:
    """Insert an admin, or make the user with this address one with this hash; returns the id."""
    values = {
        "id": row.user.id,
        "email": row.user.email,
        "hash": row.password_hash,
    }
    admin_id: UUID = (await tx.execute(PUT_ADMIN, values)).scalar_one()
    return admin_id
