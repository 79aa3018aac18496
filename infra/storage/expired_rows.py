"""Deletes rows that were kept for long enough, a few in a statement, and finds the oldest ones.

Rows are found by an index on their time and deleted by their place (``ctid``), which holds because
they are locked in the same statement; rows that somebody else holds are left for the next time.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class ExpiryRule:
    """Which rows of a table expire: those that fulfil ``condition``, by the time in ``column``.

    ``name`` is what the table is called in metrics; ``before`` is an SQL expression of a time that
    the cutoff must not be after.
    """

    name: str
    table: str
    column: str
    condition: str = "true"
    before: str = "'infinity'"

    @property
    def deletion(self) -> TextClause:
        """Delete at most ``:limit`` rows from before ``:cutoff``, the oldest first."""
        return text(f"""
            delete from {self.table} where ctid = any(array(
                select ctid from {self.table}
                where {self.condition}
                    and {self.column} < least(cast(:cutoff as timestamptz), {self.before})
                order by {self.column} limit :limit for update skip locked
            ))
        """)  # noqa: S608 - names of our own tables

    @property
    def oldest(self) -> TextClause:
        """Find the time of the oldest row that may expire."""
        return text(f"select min({self.column}) from {self.table} where {self.condition}")  # noqa: S608 - as above


# A replay is allowed while a dead letter is younger than the inbox' days, so a mark that was made
# within so many days before its first failure must be there: it tells that the event took effect.
REPLAYABLE = """(
    select coalesce(min(first_failed_at), 'infinity') from dead_letters
    where state = 'open' and first_failed_at >= cast(:cutoff as timestamptz)
) - (now() - cast(:cutoff as timestamptz))"""
UNRECOGNISED = "queue = 'webhooks.unrecognised'"

INBOX = ExpiryRule("inbox", "inbox", "handled_at", before=REPLAYABLE)
HANDLED_DEAD_LETTERS = ExpiryRule(
    "dead_letters", "dead_letters", "acted_at", f"state <> 'open' and not {UNRECOGNISED}"
)
HANDLED_UNRECOGNISED = ExpiryRule(
    "unrecognised_webhooks", "dead_letters", "acted_at", f"state <> 'open' and {UNRECOGNISED}"
)
DEAD_LETTER_JOBS = ExpiryRule(
    "dead_letter_jobs", "dead_letter_jobs", "ended_at", "state <> 'running'"
)
OPERATIONS = ExpiryRule("operations", "operations", "updated_at", "state <> 'pending'")
AUDIT = ExpiryRule("audit", "audit", "at")
SESSIONS = ExpiryRule("sessions", "sessions", "last_used_at")
SUSPECTS = ExpiryRule("suspects", "suspects", "marked_at")
WAITING_EVENTS = ExpiryRule("waiting_events", "waiting_events", "written_at")
LOG_MARKS = ExpiryRule(
    "log_marks", "log_marks", "marked_at", "marked_at < (select max(marked_at) from log_marks)"
)
WEBHOOK_HOURS = ExpiryRule("webhook_hours", "webhook_hours", "hour")


async def delete_expired_rows(
    tx: AsyncConnection, rule: ExpiryRule, cutoff: datetime, limit: int
) -> int:
    """Delete at most ``limit`` rows from before ``cutoff`` (aware); returns how many."""
    return (await tx.execute(rule.deletion, {"cutoff": cutoff, "limit": limit})).rowcount


async def find_oldest(tx: AsyncConnection, rule: ExpiryRule) -> datetime | None:
    """Find the time of the oldest row that the rule is about; None without one."""
    found: datetime | None = (await tx.execute(rule.oldest)).scalar_one()
    return found
