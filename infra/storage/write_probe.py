"""Tests with a write whether Postgres accepts writes; each process has a row of its own.

A read is no test: a standby and a read-only primary answer it.
"""

import os
import socket
import zlib

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Bounds the rows; two processes that share one wait for each other.
SLOTS = 1024

WRITE = text("""
    insert into write_probes (slot, written_at) values (:slot, now())
    on conflict (slot) do update set written_at = excluded.written_at
""")


async def write_probe(tx: AsyncConnection) -> None:
    """Write the row of this process; the caller commits. Raises what SQLAlchemy raises."""
    process = f"{socket.gethostname()}:{os.getpid()}"
    await tx.execute(WRITE, {"slot": zlib.crc32(process.encode()) % SLOTS})
