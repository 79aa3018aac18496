"""A dead letter on its way back: mended, checked, and sent to its own queue alone.

What is done here is done in the caller's transaction, or refused before anything is written.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson
from pamqp.commands import Basic
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from events import CATALOGUE
from events.base import new_id, now
from infra import outbox, topology
from infra.delivery import KEY, REPLAYS, Delivery, receive
from infra.errors import Permanent
from infra.message import Message
from infra.settings import Settings
from infra.store.dead_letters import set_body, set_state


class Refused(Exception):
    """It was not done, and why, in words for a person."""


def edited(body: bytes, changes: Mapping[str, Any]) -> bytes:
    """Set fields of a JSON body, by their dotted paths: ``data.clicks``.

    Raises ``ValueError`` when the body is no JSON object, a change names no field, or a
    value is none that JSON has.
    """
    document = orjson.loads(body)
    for path, value in changes.items():
        *parents, name = path.split(".")
        place = document
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise ValueError(f"{path!r} names no field of the event")  # noqa: TRY004 - of a person's input
        place[name] = value
    try:
        return orjson.dumps(document)
    except TypeError:
        raise ValueError("a value is larger than JSON readers take") from None


async def mend(
    tx: AsyncConnection, row: RowMapping, body: bytes, by: str, settings: Settings
) -> str | None:
    """Replace an open letter's body; tells what is still wrong with it. Raises ``Refused``."""
    check_open([row])
    await set_body(tx, row["id"], body, by)
    limit = settings.max_event_bytes
    return _what_is_wrong(row["queue"], row["routing_key"], row["properties"], body, limit)


async def send_again(
    tx: AsyncConnection,
    rows: Sequence[RowMapping],
    by: str,
    settings: Settings,
    *,
    new_id: bool = False,
    force: bool = False,
) -> None:
    """Send open letters to their own queues, once the transaction has committed.

    Raises ``Refused``, also for a letter that is older than the inbox remembers, unless
    ``force``.
    """
    check_open(rows)
    oldest = now() - timedelta(days=settings.inbox_days)
    for row in rows:
        if row["first_failed_at"] < oldest and not force:
            raise Refused(
                f"{row['id']} is older than the inbox remembers: it might take effect twice (force)"
            )
    await outbox.add(tx, [replay_message(row, new_id=new_id) for row in rows])
    await set_state(tx, [row["id"] for row in rows], "replayed", by)


async def give_up(tx: AsyncConnection, rows: Sequence[RowMapping], by: str) -> None:
    """Give open letters up for good; they stay on file. Raises ``Refused``."""
    check_open(rows)
    await set_state(tx, [row["id"] for row in rows], "discarded", by)


def check_open(rows: Sequence[RowMapping]) -> None:
    """Raise ``Refused`` unless there are letters, and all of them are open."""
    if not rows:
        raise Refused("there is no such dead letter")
    for row in rows:
        if row["state"] != "open":
            raise Refused(f"{row['id']} is {row['state']}")


def _what_is_wrong(
    queue: str, routing_key: str, properties: Mapping[str, Any], body: bytes, limit: int
) -> str | None:
    """Tell why a mended letter would not be decoded, or None."""
    header = Basic.Properties(
        content_type=properties["content_type"] or None,
        headers={**properties["headers"], KEY: routing_key},
    )
    delivery = Delivery(0, queue, topology.BACK, queue, body, header, redelivered=False)
    try:
        receive(delivery, CATALOGUE, limit)
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
