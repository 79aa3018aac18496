"""A delivery whose frames are still coming in, and what is handed over when all are here."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple


class WholeBody(NamedTuple):
    """What a body was of which only the beginning is kept: its bytes, its SHA-256 in hex."""

    length: int
    sha256: str


# tag, redelivered, exchange, routing key, content header (undecoded), body, and the whole
# body's length and hash where the body is only its beginning
DeliveryCallback = Callable[[int, bool, str, str, bytes, bytes, WholeBody | None], None]


class PartialDelivery:
    """A delivery whose frames are still coming in; of its body ``keep`` bytes are kept."""

    __slots__ = (
        "chunks",
        "exchange",
        "hashed",
        "header",
        "is_get",
        "keep",
        "key",
        "length",
        "missing",
        "redelivered",
        "sink",
        "tag",
    )

    def __init__(
        self,
        sink: DeliveryCallback,
        tag: int,
        redelivered: bool,  # noqa: FBT001 - as the frame has it
        exchange: str,
        key: str,
        keep: int,
        *,
        is_get: bool,
    ) -> None:
        """Begin with what the method frame says; ``is_get``: it answers ``basic.get``."""
        self.is_get = is_get
        self.sink = sink
        self.tag = tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.key = key
        self.keep = keep
        self.header = b""
        self.length = 0
        self.missing = 0
        self.chunks: list[bytes] = []
        self.hashed: Any = None  # a SHA-256, where not all of the body is kept

    def add(self, piece: bytes) -> None:
        """Take a piece of a body that is not kept whole."""
        if self.hashed is None:
            self.hashed = hashlib.sha256()
        room = self.keep - (self.length - self.missing)
        self.missing -= len(piece)
        self.hashed.update(piece)
        if room > 0:
            self.chunks.append(piece[:room])

    def finish(self) -> None:
        """Hand the delivery over."""
        chunks = self.chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        whole = None if self.hashed is None else WholeBody(self.length, self.hashed.hexdigest())
        self.sink(self.tag, self.redelivered, self.exchange, self.key, self.header, body, whole)
