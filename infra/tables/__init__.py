"""The tables in Postgres, as SQLAlchemy Core knows them; ``migrations/`` makes them.

Times are ``timestamptz`` (UTC), money is ``bigint`` micros.
"""

from infra.tables.accounts import api_keys, audit, platform_accounts, publishers, sessions, users
from infra.tables.base import metadata
from infra.tables.campaigns import campaign_metrics, campaigns, operations
from infra.tables.messages import dead_letters, inbox, outbox
from infra.tables.queues import stopped_queues, suspects, write_probes
from infra.tables.routing import routing

__all__ = [
    "api_keys",
    "audit",
    "campaign_metrics",
    "campaigns",
    "dead_letters",
    "inbox",
    "metadata",
    "operations",
    "outbox",
    "platform_accounts",
    "publishers",
    "routing",
    "sessions",
    "stopped_queues",
    "suspects",
    "users",
    "write_probes",
]
