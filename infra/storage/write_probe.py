"""A write that tells whether Postgres takes writes: one row of its own for each process.

A read proves nothing: a standby, or a primary that is read-only, answers it.
"""

import os
import socket
import zlib

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Rows at most; two processes that share one wait for each other for a moment.
SLOTS = 1024

WRITE = text("""
    insert into write_probes (slot, written_at) values (:slot, now())
    on conflict (slot) do update set written_at = excluded.written_at
""")


async def write_probe(tx: AsyncConnection) -> None:
    """Write this process's row; raises what SQLAlchemy raises. The caller commits."""
    process = f"{socket.gethostname()}:{os.getpid()}"
    await tx.execute(WRITE, {"slot": zlib.crc32(process.encode()) % SLOTS})
