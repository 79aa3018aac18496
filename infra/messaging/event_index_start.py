"""Finds where in the event log the index goes on.

The hash of the message before its position tells whether the log is still the same. One that was
deleted and declared again counts its offsets from 0, and is indexed from its beginning; one that
was trimmed beyond the position, from where it begins now.
"""

import logging
from contextlib import aclosing
from hashlib import blake2b
from uuid import UUID

from infra.amqp.connection import BrokerConnection
from infra.messaging.delivery import Delivery
from infra.messaging.event_log import LONGEST_CHUNK, LogEntry, read_log
from infra.storage.event_index import IndexPosition

EMPTY_AFTER = 1.0  # seconds without a delivery after which the last chunk has been read
HASHED_BYTES = 1000  # of a body; of a large one only the beginning is read

log = logging.getLogger(__name__)


async def find_start(
    link: BrokerConnection,
    position: IndexPosition | None,
    timeout: float,  # noqa: ASYNC109 - of each wait for the broker
) -> int:
    """Find the offset to read from; 0 is the beginning of the log. Raises ``Outage``."""
    if position is None or position.next_offset == 0:
        return 0
    before = position.next_offset - 1
    last = await _find_last_offset(link, timeout)
    if last is not None and last >= before:
        entry = await _find_entry(link, before, timeout)
        if entry is None or hash_message(entry.delivery) == position.fingerprint:
            return position.next_offset
    log.warning("the event log is another one: it is indexed from its beginning")
    return 0


def hash_message(delivery: Delivery) -> UUID:
    """Hash what tells a message from others, to 128 bits."""
    hashed = blake2b(delivery.key.encode(errors="replace"), digest_size=16)
    hashed.update(delivery.body[:HASHED_BYTES])
    return UUID(bytes=hashed.digest())


async def _find_last_offset(link: BrokerConnection, timeout: float) -> int | None:  # noqa: ASYNC109 - as above
    """Find the last offset of the log, or one in its last chunk while it grows; None if empty."""
    first = last = None
    reading = read_log(link, "last", timeout=timeout, empty_after=EMPTY_AFTER)
    async with aclosing(reading) as batches:
        async for batch in batches:
            first = batch[0].offset if first is None else first
            last = batch[-1].offset
            if last - first >= LONGEST_CHUNK:
                break
    return last


async def _find_entry(link: BrokerConnection, offset: int, timeout: float) -> LogEntry | None:  # noqa: ASYNC109 - as above
    """Find the message at an offset; None where the log begins behind it."""
    reading = read_log(link, offset, timeout=timeout, until=offset, empty_after=EMPTY_AFTER)
    async with aclosing(reading) as batches:
        async for batch in batches:
            return batch[0]
    return None
