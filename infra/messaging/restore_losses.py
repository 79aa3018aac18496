"""Counts what a restore from the event log does not bring back, by what the log tells of it.

Logins and acts of operators are requests that expire: the log has the facts that came of them, but
not what they wrote (hashes, keys, tokens). They are told, so that people can do them again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import orjson

from events import (
    AuditRecorded,
    CampaignSyncRequested,
    PlatformAccountConnected,
    PlatformAccountDisconnected,
    SessionRevoked,
    SessionStarted,
    UserPasswordChanged,
    UserRoleChanged,
)
from events.sources import API_SOURCE
from infra.messaging.event_log import LogEntry
from infra.messaging.routing_key import parse_event_type

# What a person reads, by the type of the fact.
LOSSES: Mapping[str, str] = {
    SessionStarted.event_type(): "logins: their users have to log in again",
    SessionRevoked.event_type(): "ended sessions: end them again if it matters",
    UserPasswordChanged.event_type(): "changed passwords: the old ones are valid again",
    UserRoleChanged.event_type(): "changed roles: give them again",
    PlatformAccountConnected.event_type(): "connected platform accounts: connect them again",
    PlatformAccountDisconnected.event_type(): "disconnected platform accounts: they are connected"
    " again",
}
# Actions of the audit log that are told by one of the facts above, or change nothing.
TOLD = (
    "login",
    "logout",
    "refresh",
    "registration",
    "session",
    "password",
    "user.role",
    "platform.",
    "database.",
)
SYNC_LOSS = (
    "requests to push a campaign again: what is not pushed is pushed now, but their operations"
    " stay pending"
)
OUTBOX_LOSS = (
    "what was only in the outbox of the lost database: accepted while the broker was not reachable,"
    " and not published before the loss"
)
RENEWAL_LOSS = (
    "tokens of platform accounts that were renewed since: connect an account again where its"
    " platform rejects the older token"
)


class LossCounter:
    """Counts facts of the log from an offset on, which a restored database does not have."""

    def __init__(self, since: int) -> None:
        """Count from the offset at which the restore begins, a little before the backup."""
        self.counts: Counter[str] = Counter()
        self._since = since

    def add(self, entries: Iterable[LogEntry]) -> None:
        """Count what is lost among these entries."""
        for entry in entries:
            if entry.offset >= self._since:
                self._add(entry)

    def describe(self) -> list[str]:
        """Say what is lost, a line each; some of it may be in the database all the same."""
        lines = [f"up to {count} {what}" for what, count in sorted(self.counts.items())]
        return [*lines, OUTBOX_LOSS, RENEWAL_LOSS]

    def _add(self, entry: LogEntry) -> None:
        kind = parse_event_type(entry.delivery.key)
        if (loss := LOSSES.get(kind)) is not None:
            self.counts[loss] += 1
        elif kind == AuditRecorded.event_type():
            if action := _read_action(_read(entry)):
                self.counts[f"acts of operators ({action}): do them again"] += 1
        elif kind == CampaignSyncRequested.event_type() and _read(entry).source == API_SOURCE:
            self.counts[SYNC_LOSS] += 1


@dataclass(frozen=True, slots=True)
class _Content:
    """Source and data of an event, as far as they can be read."""

    source: object = None
    data: Mapping[str, object] = field(default_factory=dict)


def _read(entry: LogEntry) -> _Content:
    with suppress(orjson.JSONDecodeError, AttributeError):
        event = orjson.loads(entry.delivery.body)
        data = event.get("data")
        return _Content(event.get("source"), data if isinstance(data, dict) else {})
    return _Content()


def _read_action(content: _Content) -> str | None:
    """Read the action of an audit entry; None where it is told otherwise or did not succeed."""
    action, outcome = content.data.get("action"), content.data.get("outcome")
    if outcome != "ok" or not isinstance(action, str) or action.startswith(TOLD):
        return None
    return action[:100]
