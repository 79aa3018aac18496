"""Reads of a message of the event log what the index keeps; whatever its bytes are.

Anybody who may publish writes into the log, so reading is total: what cannot be read is left out,
and texts are as Postgres stores them, at most ``MAX_TEXT`` characters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from events import (
    CampaignCommandRejected,
    CampaignCreateRequested,
    CampaignStatusChanged,
    CampaignStatusReported,
    CampaignSynced,
    CampaignSyncRejected,
)
from infra.messaging import content_mode
from infra.messaging.delivery import Delivery
from infra.messaging.event_log import LogEntry
from infra.messaging.origin import Origin, parse_stored_time, read_origin
from infra.storage.event_index import IndexedEvent

MAX_TEXT = 255  # characters; valid attributes have at most 200
MAX_RESULT = 2000  # characters
AHEAD = timedelta(minutes=5)  # that the clock of another host may be

CREATION = CampaignCreateRequested.event_type()
# What these say of a campaign is an answer: of its platform, or of the worker.
RESULTS: Mapping[str, tuple[str, ...]] = {
    CampaignSynced.event_type(): ("platform", "version", "platform_campaign_id", "status"),
    CampaignSyncRejected.event_type(): ("platform", "version", "code", "message"),
    CampaignStatusReported.event_type(): ("platform", "platform_campaign_id", "status"),
    CampaignStatusChanged.event_type(): ("platform", "version", "status", "previous"),
    CampaignCommandRejected.event_type(): ("code", "message"),
}
Clock = Callable[[int | None, float], datetime]


@dataclass(frozen=True, slots=True)
class _Content:
    """The attributes and the data of an event, as far as they can be read."""

    attributes: Mapping[str, Any]
    data: Mapping[str, Any]


NOTHING: Mapping[str, Any] = {}


def read_entry(entry: LogEntry, internal: frozenset[str], clock: Clock) -> IndexedEvent:
    """Read what the index keeps of a message; never raises.

    ``internal`` are Adrelay's own broker users; ``clock`` tells when a message was logged, by the
    ``timestamp`` of its properties (where one of these users has published it) and by when it was
    received, both in seconds since 1970.
    """
    delivery = entry.delivery
    properties, user = delivery.properties, delivery.user_id
    is_internal = user in internal
    told = properties.timestamp if is_internal else None
    logged_at = clock(told, delivery.received)
    origin = read_origin(user, properties.headers, internal)
    try:
        content = _read_content(delivery)
    except Exception:  # noqa: BLE001 - whatever it is, it must not stop the index
        content = _Content(NOTHING, NOTHING)
    event = _build(entry.offset, delivery, content, origin, logged_at)
    # Others may write what they like there (``infra.messaging.event_causes``).
    return event if is_internal else event._replace(causation_source=None)


def _build(
    offset: int, delivery: Delivery, content: _Content, origin: Origin, logged_at: datetime
) -> IndexedEvent:
    told = content.attributes
    source, event_id = _text(told.get("source")), _text(told.get("id"))
    subject, kind = _text(told.get("subject")), _text(told.get("type"))
    campaign_id = _text(_find_campaign(kind, source, event_id, content.data))
    occurred_at = parse_stored_time(told.get("time"))
    accepted_at = origin.accepted_at
    return IndexedEvent(
        log_offset=offset,
        logged_at=logged_at,
        accepted_at=accepted_at if accepted_at and accepted_at <= logged_at + AHEAD else None,
        occurred_at=occurred_at,
        from_outbox=origin.outbox_at is not None,
        door=_text(origin.door) or "",
        routing_key=_text(delivery.key) or "",
        type=kind or _text(delivery.properties.message_type),
        source=source or "",
        event_id=event_id or _text(delivery.properties.message_id),
        subject=subject,
        correlation_id=_text(told.get("correlationid")),
        causation_id=_text(told.get("causationid")),
        causation_source=_text(told.get("causationsource")),
        campaign_id=None if campaign_id == subject else campaign_id,
        result=_read_result(kind, content.data),
    )


def _read_content(delivery: Delivery) -> _Content:
    """Read attributes and data in either mode; raises what a parser raises."""
    if not content_mode.is_structured(delivery.header) and (told := delivery.attributes):
        return _Content(told, _object(_parse(delivery.body)))
    document = _object(_parse(delivery.body))
    return _Content(document, _object(document.get("data")))


def _parse(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        return None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else NOTHING


def _find_campaign(
    kind: str | None, source: str | None, event_id: str | None, data: Mapping[str, Any]
) -> object:
    """Find the campaign that an event is about: by our id, else by its platform's."""
    named = data.get("campaign_id") or data.get("platform_campaign_id")
    if named is None and kind == CREATION and source and event_id:
        return str(uuid5(NAMESPACE_URL, f"{source}\n{event_id}"))  # as ``get_campaign_id``
    return named


def _read_result(kind: str | None, data: Mapping[str, Any]) -> str | None:
    names = RESULTS.get(kind or "")
    if names is None:
        return None
    said = {name: _scalar(data[name]) for name in names if data.get(name) is not None}
    return orjson.dumps(said).decode() if said else None


def _scalar(value: object) -> object:
    """Keep a number, and of anything else the beginning of its text."""
    if isinstance(value, bool | int | float):
        return value if abs(value) < 2**63 else str(value)[:MAX_TEXT]
    return _text(value if isinstance(value, str) else str(value), MAX_RESULT // 4)


def _text(value: object, length: int = MAX_TEXT) -> str | None:
    """Make text that Postgres stores: no NUL, no lone surrogate, bounded; None without one."""
    if not isinstance(value, str) or not value:
        return None
    text = value if len(value) <= length else value[:length]
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\0")[:length].encode(errors="replace").decode()
