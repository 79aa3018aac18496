"""A message in hand: bytes and headers that anybody may have written.

Headers of Adrelay count only on a message that came back over ``adrelay.back``
(``infra.messaging.headers``).
"""

from collections.abc import Mapping
from datetime import datetime
from time import time
from types import EllipsisType
from typing import Any

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from infra.amqp import topology
from infra.amqp.content_header import Properties, decode_content_header, read_user_id
from infra.amqp.partial_delivery import WholeBody
from infra.messaging import content_mode
from infra.messaging.headers import (
    ATTEMPT,
    BODY_LENGTH,
    BODY_SHA256,
    FIRST_FAILED,
    KEY,
    MESSAGE_ID,
    REPLAYS,
    USER,
    WAITED,
)
from schemas.trace_context import TraceContext

MAX_NUMBER = 2**31  # a larger number in one of our headers was not written by Adrelay
DELIVERY_COUNT = b"x-delivery-count"


class Delivery:
    """One message in hand; ``tag`` is its delivery tag on the channel it came by.

    Properties are decoded on first use: an event in structured mode that is handled needs none.
    """

    __slots__ = (
        "_properties",
        "_user_id",
        "_whole",
        "body",
        "exchange",
        "header",
        "key",
        "queue",
        "received",
        "redelivered",
        "tag",
        "trace",
        "weight",
    )

    def __init__(
        self,
        tag: int,
        queue: str,
        exchange: str,
        key: str,
        body: bytes,
        header: bytes | Basic.Properties,
        whole: WholeBody | None = None,
        *,
        redelivered: bool,
    ) -> None:
        """``header`` is the content header as it came (or properties to make one of).

        ``whole`` says what the body was, where ``body`` is only its beginning.
        """
        self.tag = tag
        self.queue = queue
        self.exchange = exchange
        self.key = key
        self.body = body
        self._whole = whole
        self.redelivered = redelivered
        self.header = header if isinstance(header, bytes) else _header_of(header, len(body))
        self.trace: TraceContext | None = None  # of the span in which it is handled, if sampled
        self.weight = len(body) + len(self.header)  # bytes that it keeps in memory
        self.received = time()  # seconds since 1970
        self._properties: Properties | None = None
        self._user_id: str | EllipsisType | None = ...

    @property
    def whole(self) -> WholeBody | None:
        """Length and hash of the whole body, where ``body`` is only the beginning of it."""
        if self._whole is None and self.is_requeued and (length := self._number(BODY_LENGTH)):
            return WholeBody(length, str(self.headers.get(BODY_SHA256)))
        return self._whole

    @property
    def size(self) -> int:
        """Bytes of the whole body."""
        if self._whole is None and self.exchange != topology.RETURN_EXCHANGE:
            return len(self.body)
        whole = self.whole
        return len(self.body) if whole is None else whole.length

    @property
    def properties(self) -> Properties:
        """The AMQP properties; decoding them never fails."""
        if self._properties is None:
            self._properties = decode_content_header(self.header)
        return self._properties

    @property
    def headers(self) -> Mapping[str, Any]:
        """The headers among the properties."""
        return self.properties.headers

    @property
    def attributes(self) -> dict[str, Any]:
        """CloudEvents attributes of a message in binary mode; none in structured mode.

        Values are the canonical strings of their types (CloudEvents 1.0, section 3.1); what has
        none, such as a table, is as it came.
        """
        header = self.header
        if content_mode.is_structured(header) or not content_mode.may_be_binary(header):
            return {}
        if content_mode.is_format(self.properties.content_type):
            return {}
        return content_mode.attributes_of(self.headers)

    @property
    def is_requeued(self) -> bool:
        """Whether it returned to this queue from a retry tier or a replay."""
        return self.exchange == topology.RETURN_EXCHANGE

    @property
    def routing_key(self) -> str:
        """The routing key of the first publish."""
        return str(self.headers.get(KEY, "")) if self.is_requeued else self.key

    @property
    def message_id(self) -> str | None:
        """The message id of the first publish."""
        kept = self.headers.get(MESSAGE_ID) if self.is_requeued else None
        return kept if isinstance(kept, str) else self.properties.message_id

    @property
    def attempts(self) -> int:
        """Failed attempts before this one."""
        return self._number(ATTEMPT)

    @property
    def seconds_waited(self) -> int:
        """Seconds of waiting that failures have cost; pauses and snoozes do not count."""
        return self._number(WAITED)

    @property
    def replays(self) -> int:
        """How often a person replayed it."""
        return self._number(REPLAYS)

    @property
    def first_failed(self) -> datetime | None:
        """When its first attempt failed (UTC)."""
        if not self.is_requeued:
            return None
        try:
            return (
                datetime.fromisoformat(str(self.headers[FIRST_FAILED]))
                if self.is_requeued
                else None
            )
        except (KeyError, ValueError):
            return None

    @property
    def user_id(self) -> str | None:
        """The broker user that published it last, validated by the broker."""
        if self._user_id is ...:
            self._user_id = read_user_id(self.header)
        return self._user_id

    @property
    def user(self) -> str | None:
        """The broker user that published it first, validated by the broker then."""
        return str(self.headers.get(USER) or "") or None if self.is_requeued else self.user_id

    @property
    def delivery_count(self) -> int:
        """How often it was delivered before without being settled."""
        if not self.redelivered or DELIVERY_COUNT not in self.header:
            return int(self.redelivered)
        count = self.headers.get("x-delivery-count")
        return count if isinstance(count, int) else int(self.redelivered)

    def _number(self, name: str) -> int:
        value = self.headers.get(name, 0) if self.is_requeued else 0
        return value if isinstance(value, int) and 0 <= value < MAX_NUMBER else 0


def _header_of(properties: Basic.Properties, size: int) -> bytes:
    return ContentHeader(body_size=size, properties=properties).marshal()
