"""Deletes rows that were kept for long enough."""

import asyncio
import logging
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from events.envelope import now
from infra.backoff import sleep_until
from infra.messaging import inbox
from infra.messaging.isolation import delete_old_markers
from infra.resources import Resources
from infra.storage.audit import delete_old_audit_entries
from infra.storage.dead_letters import delete_old_dead_letters
from infra.storage.log_marks import delete_old_log_marks
from infra.storage.operations import delete_old_operations
from infra.storage.sessions import delete_old_sessions, expiry_cutoff

INTERVAL = 600.0  # seconds between two runs that find nothing
ENDED_SESSIONS_KEPT = timedelta(days=30)
LOG_MARK_DAYS = 2  # how long marks of the event log are kept; only the latest is used

log = logging.getLogger(__name__)


async def delete_expired(resources: Resources, stop: asyncio.Event) -> None:
    """Delete expired rows, a few at a time, until ``stop`` is set; nothing that is still open.

    Inbox marks, ended sessions, replayed and discarded dead letters, ended operations and audit
    entries, each after its own number of days.
    """
    settings = resources.settings
    while not stop.is_set():
        cutoff = expiry_cutoff(settings, now()) - ENDED_SESSIONS_KEPT
        try:
            async with resources.engine.begin() as tx:
                deleted = await inbox.delete_old_marks(tx, settings.inbox_days)
                deleted += await delete_old_sessions(tx, cutoff)
                deleted += await delete_old_dead_letters(tx, settings.dead_letter_days)
                deleted += await delete_old_operations(tx, settings.operation_days)
                deleted += await delete_old_audit_entries(tx, settings.audit_days)
                deleted += await delete_old_log_marks(tx, LOG_MARK_DAYS)
                await delete_old_markers(tx)
        except (SQLAlchemyError, OSError) as error:
            log.warning("expired rows cannot be deleted", extra={"error": type(error).__name__})
            deleted = 0
        if deleted == 0:
            await sleep_until(stop, INTERVAL)
