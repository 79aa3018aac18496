"""Queries for the API keys of upstream systems, which are stored as hashes.

    adr_k3v9x2qa_<32 random bytes, base64url>

The part after ``adr_`` is stored in clear, so that people can tell keys apart. The rest holds 256
random bits, so an unsalted SHA-256 protects it, and the time of a lookup by that hash reveals
nothing about the key.
"""

import re
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.storage.tables import api_keys
from schemas.api_keys import ApiKeySummary

KEY_FORMAT = re.compile(r"(adr_[a-z0-9]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
PREFIX_LENGTH = 8
ALPHABET = string.ascii_lowercase + string.digits
SUMMARY_COLUMNS = tuple(api_keys.c[name] for name in ApiKeySummary.model_fields)
# Skips rows that another transaction has locked: it is writing the same, so neither waits.
UPDATE_LAST_USED = text("""
    update api_keys set last_used_at = used.at
    from unnest(cast(:ids as uuid[]), cast(:moments as timestamptz[])) as used (id, at),
        (select id from api_keys where id = any(cast(:ids as uuid[])) for update skip locked)
            as free
    where api_keys.id = used.id and free.id = used.id
      and (last_used_at is null
           or date_trunc('minute', last_used_at) < date_trunc('minute', used.at))
""")


@dataclass(frozen=True, slots=True)
class ParsedApiKey:
    """An API key in clear, which is displayed once, and the parts of it that are stored."""

    key: str = field(repr=False)
    prefix: str
    hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A valid API key, with its owner and permissions.

    ``scopes`` are such as ``events:publish:*``; ``sources`` are the CloudEvents sources that it
    may publish.
    """

    id: UUID
    name: str
    owner_id: UUID
    scopes: tuple[str, ...]
    sources: tuple[str, ...]
    expires_at: datetime | None = None

    @property
    def has_expired(self) -> bool:
        """Whether the key has expired by now, for callers that cache it."""
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)


def generate_api_key() -> ParsedApiKey:
    """Generate a random key."""
    prefix = "".join(secrets.choice(ALPHABET) for _ in range(PREFIX_LENGTH))
    return parse_api_key(f"adr_{prefix}_{secrets.token_urlsafe(32)}")


def parse_api_key(key: str) -> ParsedApiKey:
    """Parse a key; raises ``ValueError``, without the text in its message, for anything else."""
    found = KEY_FORMAT.fullmatch(key)
    if found is None:
        raise ValueError("an API key looks like adr_<8 letters or digits>_<43 characters>")
    return ParsedApiKey(key, found[1], sha256(key.encode()).digest())


async def insert_api_key(
    tx: AsyncConnection,
    key: ParsedApiKey,
    *,
    name: str,
    owner_id: UUID,
    scopes: Sequence[str],
    sources: Sequence[str],
    expires_at: datetime | None = None,
) -> ApiKeySummary | None:
    """Insert a key and return its list item; None if the key exists."""
    adding = (
        insert(api_keys)
        .values(
            id=uuid4(),
            name=name,
            prefix=key.prefix,
            key_hash=key.hash,
            owner_id=owner_id,
            scopes=list(scopes),
            sources=list(sources),
            expires_at=expires_at,
        )
        .on_conflict_do_nothing(index_elements=["key_hash"])
        .returning(*SUMMARY_COLUMNS)
    )
    row = (await tx.execute(adding)).one_or_none()
    return _entry(row) if row else None


async def find_api_key(tx: AsyncConnection, key: str) -> ApiKey | None:
    """Find a presented key; None when it is malformed, unknown, revoked or expired."""
    try:
        presented = parse_api_key(key)
    except ValueError:
        return None
    query = select(*(api_keys.c[field.name] for field in fields(ApiKey)))
    query = query.where(
        api_keys.c.key_hash == presented.hash,
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > func.now()),
    )
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        return None
    found = row._asdict()
    return ApiKey(**{**found, "scopes": tuple(row.scopes), "sources": tuple(row.sources)})


async def list_next_expiries(tx: AsyncConnection, limit: int) -> dict[str, datetime]:
    """List the prefixes of the valid API keys that expire next, with their expiry in UTC."""
    query = (
        select(api_keys.c.prefix, api_keys.c.expires_at)
        .where(api_keys.c.revoked_at.is_(None), api_keys.c.expires_at > func.now())
        .order_by(api_keys.c.expires_at)
        .limit(limit)
    )
    return {row[0]: row[1] for row in await tx.execute(query)}


async def read_api_key(tx: AsyncConnection, key_id: UUID) -> ApiKeySummary | None:
    """Read the list item of a key, valid or not; None without such a key."""
    row = (await tx.execute(select(*SUMMARY_COLUMNS).where(api_keys.c.id == key_id))).one_or_none()
    return _entry(row) if row else None


async def list_api_keys(
    tx: AsyncConnection, *, page: int, per_page: int
) -> tuple[list[ApiKeySummary], int]:
    """Read a page (counted from 1) of all keys, the newest first, and their total number."""
    total = await tx.execute(select(func.count()).select_from(api_keys))
    query = (
        select(*SUMMARY_COLUMNS)
        .order_by(api_keys.c.created_at.desc(), api_keys.c.id.desc())
        .limit(per_page)
        .offset((page - 1) * per_page)
    )
    return [_entry(row) for row in await tx.execute(query)], total.scalar_one()


async def update_last_used(tx: AsyncConnection, uses: Mapping[UUID, datetime]) -> None:
    """Write when keys were last used (UTC), each at most once a minute over all processes."""
    await tx.execute(UPDATE_LAST_USED, {"ids": list(uses), "moments": list(uses.values())})


async def revoke_api_key(tx: AsyncConnection, key_id: UUID) -> bool:
    """Revoke a key; False when it was revoked before or does not exist."""
    revoking = (
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    return (await tx.execute(revoking)).rowcount == 1


def _entry(row: Row[Any]) -> ApiKeySummary:
    return ApiKeySummary.model_validate(row, from_attributes=True)
