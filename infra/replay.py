"""A dead letter on its way back: mended, checked, and sent to its own queue alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pamqp.commands import Basic
from sqlalchemy import RowMapping

from events import CATALOGUE
from events.base import new_id
from infra import topology
from infra.delivery import KEY, REPLAYS, Delivery, receive
from infra.errors import Permanent
from infra.message import Message
from infra.settings import load_settings


def edited(body: bytes, changes: Sequence[str]) -> bytes:
    """Set fields of a JSON body: ``data.clicks=3``; a value that is no JSON is text.

    Raises ``ValueError`` when the body is no JSON object or a change names no field.
    """
    document = orjson.loads(body)
    for change in changes:
        path, separator, value = change.partition("=")
        *parents, name = path.split(".")
        place = document
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not separator or not isinstance(place, dict):
            raise ValueError(f"{path!r} names no field of the event")
        place[name] = _json_or_text(value)
    return orjson.dumps(document)


def what_is_wrong(
    queue: str, routing_key: str, properties: Mapping[str, Any], body: bytes
) -> str | None:
    """Tell why a mended letter would not be decoded, or None."""
    header = Basic.Properties(
        content_type=properties["content_type"] or None,
        headers={**properties["headers"], KEY: routing_key},
    )
    delivery = Delivery(0, queue, topology.BACK, queue, body, header, redelivered=False)
    try:
        receive(delivery, CATALOGUE, load_settings().max_event_bytes)
    except Permanent as error:
        return error.reason
    return None


def replay_message(row: RowMapping, *, new_id: bool = False) -> Message:
    """Make the message that brings a letter back to its queue.

    Its attempts begin anew; how often it was replayed is remembered. ``new_id`` gives the
    event a fresh id, for a letter that died because its id was used for another event.
    """
    body: bytes = row["body"]
    kept = row["properties"]
    return Message(
        exchange=topology.BACK,
        routing_key=row["queue"],
        body=_with_new_id(body) if new_id else body,
        message_id=f"replay:{row['id']}:{row['replays'] + 1}",
        type=kept["type"] or None,
        correlation_id=kept["correlation_id"] or None,
        content_type=kept["content_type"] or "application/octet-stream",
        headers={
            **kept["headers"],
            KEY: row["routing_key"],
            REPLAYS: row["replays"] + 1,
        },
    )


def _with_new_id(body: bytes) -> bytes:
    return orjson.dumps({**orjson.loads(body), "id": new_id()})


def _json_or_text(value: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
