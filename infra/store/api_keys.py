"""API keys of upstream systems: shown once, stored as a hash.

    adr_k3v9x2qa_<32 random bytes, base64url>

The part after ``adr_`` is stored in clear, so that people can tell keys apart. A key is 256 random
bits, so a plain SHA-256 protects it, and finding it by that hash tells nothing by its timing.
"""

import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from uuid import UUID, uuid4

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.tables import api_keys

KEY = re.compile(r"(adr_[a-z0-9]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
PREFIX_LENGTH = 8
ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to show once, and what of it is stored."""

    key: str = field(repr=False)
    prefix: str
    hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that is valid now: whose it is and what it may do.

    ``scopes`` are such as ``events:publish:*``, ``sources`` the CloudEvents sources that
    it may speak for.
    """

    id: UUID
    name: str
    owner_id: UUID
    scopes: tuple[str, ...]
    sources: tuple[str, ...]


def make_key() -> NewKey:
    """Make a key at random."""
    prefix = "".join(secrets.choice(ALPHABET) for _ in range(PREFIX_LENGTH))
    return read_key(f"adr_{prefix}_{secrets.token_urlsafe(32)}")


def read_key(key: str) -> NewKey:
    """Take a key apart; raises ``ValueError``, which does not show it, for anything else."""
    found = KEY.fullmatch(key)
    if found is None:
        raise ValueError("an API key looks like adr_<8 letters or digits>_<43 characters>")
    return NewKey(key, found[1], sha256(key.encode()).digest())


async def insert_api_key(
    tx: AsyncConnection,
    key: NewKey,
    *,
    name: str,
    owner_id: UUID,
    scopes: Sequence[str],
    sources: Sequence[str],
    expires_at: datetime | None = None,
) -> bool:
    """Store what is to be stored of a key; tells whether it was new."""
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
    )
    return (await tx.execute(adding)).rowcount == 1


async def find_api_key(tx: AsyncConnection, key: str) -> ApiKey | None:
    """Find a key as a caller shows it; None when it is unknown, revoked or expired."""
    try:
        shown = read_key(key)
    except ValueError:
        return None
    query = select(*(api_keys.c[name] for name in ("id", "name", "owner_id", "scopes", "sources")))
    query = query.where(
        api_keys.c.key_hash == shown.hash,
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > func.now()),
    )
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        return None
    return ApiKey(row.id, row.name, row.owner_id, tuple(row.scopes), tuple(row.sources))


async def revoke_api_key(tx: AsyncConnection, key_id: UUID) -> bool:
    """Make a key invalid from now on; tells whether it was valid."""
    revoking = (
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    return (await tx.execute(revoking)).rowcount == 1
