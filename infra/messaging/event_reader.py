"""Reads of a message of the event log what the index keeps; whatever its bytes are.

Anybody who may publish writes into the log, so reading is total: what cannot be read is left out,
and texts are as Postgres stores them, at most ``MAX_TEXT`` characters.
"""

from collections.abc import Callable, Mapping
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
from infra.amqp.content_header import read_publication
from infra.messaging import content_mode
from infra.messaging.delivery import Delivery
from infra.messaging.event_log import LogEntry
from infra.messaging.origin import parse_stored_time, read_origin
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
Content = tuple[Mapping[str, Any], Mapping[str, Any]]  # attributes, data

NOTHING: Mapping[str, Any] = {}
# Attributes whose texts are kept; the columns that they fill are in the same order.
ATTRIBUTES = (
    *("source", "id", "subject", "type"),
    *("correlationid", "causationid", "causationsource"),
)


def read_entry(entry: LogEntry, internal: frozenset[str], clock: Clock) -> IndexedEvent:
    """Read what the index keeps of a message; never raises.

    ``internal`` are Adrelay's own broker users; ``clock`` tells when a message was logged, by the
    ``timestamp`` of its properties (where one of these users has published it) and by when it was
    received, both in seconds since 1970. Each line of it runs for every event.
    """
    delivery = entry.delivery
    header = delivery.header
    user, timestamp = read_publication(header)
    is_internal = user in internal
    logged_at = clock(timestamp if is_internal else None, delivery.received)
    door, accepted_at, outbox_at = read_origin(user, header, internal)
    if accepted_at is not None and accepted_at > logged_at + AHEAD:
        accepted_at = None
    try:
        attributes, data = _read_content(delivery)
    except Exception:  # noqa: BLE001 - whatever it is, it must not stop the index
        attributes, data = NOTHING, NOTHING
    source, event_id, subject, kind, correlation_id, causation_id, causation_source = [
        value if type(value) is str and _is_plain(value) else _text(value)
        for value in map(attributes.get, ATTRIBUTES)
    ]
    campaign_id = _text(_find_campaign(kind, source, event_id, data))
    return IndexedEvent(
        entry.offset,
        logged_at,
        accepted_at,
        parse_stored_time(attributes.get("time")),
        outbox_at is not None,
        _text(door) or "",
        _text(delivery.key) or "",
        kind or _text(delivery.properties.message_type),
        source or "",
        event_id or _text(delivery.properties.message_id),
        subject,
        correlation_id,
        causation_id,
        # Others may write what they like there (``infra.messaging.event_causes``).
        causation_source if is_internal else None,
        None if campaign_id == subject else campaign_id,
        _read_result(kind, data) if kind is not None and kind in RESULTS else None,
    )


def _read_content(delivery: Delivery) -> Content:
    """Read attributes and data in either mode; raises what a parser raises."""
    if not content_mode.is_structured(delivery.header) and (told := delivery.attributes):
        return told, _object(_parse(delivery.body))
    document = _object(_parse(delivery.body))
    return document, _object(document.get("data"))


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


def _read_result(kind: str, data: Mapping[str, Any]) -> str | None:
    said = {name: _scalar(data[name]) for name in RESULTS[kind] if data.get(name) is not None}
    return orjson.dumps(said).decode() if said else None


def _scalar(value: object) -> object:
    """Keep a number, and of anything else the beginning of its text."""
    if isinstance(value, bool | int | float):
        return value if abs(value) < 2**63 else str(value)[:MAX_TEXT]
    return _text(value if isinstance(value, str) else str(value), MAX_RESULT // 4)


def _is_plain(text: str) -> bool:
    return 0 < len(text) <= MAX_TEXT and text.isascii() and "\0" not in text


def _text(value: object, length: int = MAX_TEXT) -> str | None:
    """Make text that Postgres stores: no NUL, no lone surrogate, bounded; None without one."""
    if not isinstance(value, str) or not value:
        return None
    text = value if len(value) <= length else value[:length]
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\0")[:length].encode(errors="replace").decode()
