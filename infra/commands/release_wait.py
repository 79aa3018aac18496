"""Waits for the release that another process runs, before a process of Adrelay starts."""

import asyncio
import sys

from sqlalchemy.exc import DBAPIError

from infra.settings import Settings
from infra.storage.engine import open_engine
from infra.storage.migrations import is_upgraded

WAIT_INTERVAL = 2.0  # seconds between two looks


async def wait_for_release(settings: Settings, interval: float = WAIT_INTERVAL) -> None:
    """Return when the database is at this code's release or a newer one; waits without an end.

    What started the process ends the wait.
    """
    engine = open_engine(settings)
    said = ""
    try:
        while True:
            try:
                async with engine.connect() as connection:
                    if await is_upgraded(connection):
                        return
                reason = "the database is not migrated yet"
            except (OSError, TimeoutError, DBAPIError) as error:
                reason = f"the database cannot be reached: {error or type(error)}"
            if reason != said:
                sys.stderr.write(f"waiting for the release: {reason}\n")
                sys.stderr.flush()
            said = reason
            await asyncio.sleep(interval)
    finally:
        await engine.dispose()
