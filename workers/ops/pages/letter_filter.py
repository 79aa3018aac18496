"""The filter of dead letters in an address: parsed from it, and written into it."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from infra.amqp.topology import WORK_QUEUE_NAMES
from infra.errors import CODES
from infra.storage.dead_letters import STATES, DeadLetterFilter

PATH = "/dead-letters"
QUEUES = (*WORK_QUEUE_NAMES, "webhooks.unrecognised")
STAGES = ("decode", "authorize", "handler", "delivery", "parse", "broker")
SORTED_CODES = tuple(sorted(CODES))
SINCE = {"hour": "last hour", "day": "last 24 hours", "week": "last 7 days"}
AGES = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
ALL = "all"
MAX_PICKS = 100  # letters that are chosen one by one
MAX_TEXT = 300  # characters of a searched text
FIELDS = ("state", "queue", "stage", "code", "since", "text", "group")

LetterPosition = tuple[datetime, UUID]  # first failure and id of the last letter of the page before


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """The filter as people write it; an empty text matches all."""

    state: str = "open"
    queue: str = ""
    stage: str = ""
    code: str = ""
    since: str = ""
    text: str = ""
    group: str = ""

    def to_query(self, now: datetime) -> DeadLetterFilter:
        """Build the filter of the queries; ``now`` (UTC) is where ages count from."""
        return DeadLetterFilter(
            state=None if self.state == ALL else self.state,
            queue=self.queue or None,
            fingerprint=self.group or None,
            stage=self.stage or None,
            error_class=self.code or None,
            failed_since=now - AGES[self.since] if self.since else None,
            text=self.text or None,
        )

    @property
    def is_limited(self) -> bool:
        """Whether it leaves letters out, apart from their state."""
        return any(getattr(self, name) for name in FIELDS if name != "state")

    @property
    def is_group(self) -> bool:
        """Whether it is one group and nothing else."""
        return bool(self.group) and not replace(self, group="").is_limited

    def with_state(self, state: str) -> "LetterFilter":
        """Choose letters of another state."""
        return replace(self, state=state)

    def describe(self) -> str:
        """Say in words which letters match."""
        given = ((name, getattr(self, name)) for name in FIELDS if name != "state")
        return ", ".join(f"{name} {value}" for name, value in given if value) or "all"

    @property
    def values(self) -> dict[str, str]:
        """The parameters of an address that has this filter."""
        given = {name: getattr(self, name) for name in FIELDS if getattr(self, name)}
        if self.state == "open":
            given.pop("state")
        return given

    @property
    def query(self) -> str:
        """The filter as the query of an address."""
        return urlencode(self.values)

    def address(self, *, anchor: str = "", after: str = "", **changes: str) -> str:
        """Write the address of the list with this filter, some of it changed."""
        given = replace(self, **changes).values
        if after:
            given["after"] = after
        return PATH + (f"?{urlencode(given)}" if given else "") + (f"#{anchor}" if anchor else "")


def parse_filter(query: Mapping[str, str]) -> LetterFilter:
    """Parse the parameters of an address; what is not understood matches all."""
    found: dict[str, Any] = {
        name: _clean(query.get(name, "")) for name in FIELDS if name not in ("state", "since")
    }
    for name in ("queue", "stage", "code"):
        found[name] = "" if found[name] == ALL else found[name]
    state, since = query.get("state", "open"), query.get("since", "")
    found["state"] = state if state in (*STATES, ALL) else "open"
    found["since"] = since if since in SINCE else ""
    return LetterFilter(**found)


def parse_picks(texts: Iterable[str]) -> list[UUID]:
    """Parse the ids of chosen letters, at most ``MAX_PICKS``; what is no id is left out."""
    found: dict[UUID, None] = {}
    for text in texts:
        with contextlib.suppress(ValueError):
            found[UUID(text)] = None
    return list(found)[:MAX_PICKS]


def parse_cursor(text: str) -> LetterPosition | None:
    """Parse the position of a page; None for the first page, and for what is no position."""
    moment, _, letter_id = text.partition("_")
    try:
        failed_at = datetime.fromisoformat(moment)
        if failed_at.tzinfo is not None:
            return failed_at.astimezone(UTC), UUID(letter_id)
    except (ValueError, OverflowError):
        pass
    return None


def format_cursor(failed_at: datetime, letter_id: UUID) -> str:
    """Write the position after a letter."""
    return f"{failed_at.astimezone(UTC).isoformat()}_{letter_id}".replace("+00:00", "Z")


def _clean(text: str) -> str:
    """Drop what Postgres stores in no text."""
    return text.strip()[:MAX_TEXT].replace("\0", "").encode(errors="replace").decode()
