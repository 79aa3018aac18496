"""The tables of the database for SQLAlchemy Core; ``infra/storage/migrations`` creates them.

Times are ``timestamptz`` (UTC), money is ``bigint`` micros.
"""

from infra.storage.tables.base import metadata
from infra.storage.tables.campaigns import campaign_metrics, campaigns, operations
from infra.storage.tables.dead_letters import (
    dead_letter_counts,
    dead_letter_groups,
    dead_letter_history,
    dead_letter_job_failures,
    dead_letter_jobs,
    dead_letter_originals,
)
from infra.storage.tables.events import event_index, log_marks, log_positions, waiting_events
from infra.storage.tables.messages import SEARCHED_COLUMNS, dead_letters, inbox, outbox
from infra.storage.tables.queues import (
    pauses,
    skipped_triggers,
    stopped_queues,
    suspects,
    write_probes,
)
from infra.storage.tables.routing import routing
from infra.storage.tables.users import (
    api_keys,
    audit,
    platform_accounts,
    publishers,
    sessions,
    users,
)
from infra.storage.tables.webhooks import webhook_hours, webhook_totals

__all__ = [
    "SEARCHED_COLUMNS",
    "api_keys",
    "audit",
    "campaign_metrics",
    "campaigns",
    "dead_letter_counts",
    "dead_letter_groups",
    "dead_letter_history",
    "dead_letter_job_failures",
    "dead_letter_jobs",
    "dead_letter_originals",
    "dead_letters",
    "event_index",
    "inbox",
    "log_marks",
    "log_positions",
    "metadata",
    "operations",
    "outbox",
    "pauses",
    "platform_accounts",
    "publishers",
    "routing",
    "sessions",
    "skipped_triggers",
    "stopped_queues",
    "suspects",
    "users",
    "waiting_events",
    "webhook_hours",
    "webhook_totals",
    "write_probes",
]
