"""How many bytes of deliveries a connection's consumers have in hand, and when that is too many."""

from typing import Protocol

MAX_HELD_BYTES = 16 * 1024 * 1024  # in headers and bodies


class Reader(Protocol):
    """The reading end of a connection (``infra.amqp.intercepting_reader``)."""

    @property
    def unsent(self) -> int:
        """How many bytes wait to be written."""

    def pause(self) -> None:
        """Read nothing more from the socket."""

    def resume(self) -> None:
        """Read the socket again."""


class HeldBytes:
    """Counts the bytes of deliveries in hand, and stops the reading while they are too many."""

    def __init__(self, most: int = MAX_HELD_BYTES) -> None:
        """Stop reading beyond ``most`` bytes, and go on at half of them."""
        self._most = most
        self._held = 0
        self._is_paused = False
        self._reader: Reader | None = None

    @property
    def unsent(self) -> int:
        """How many bytes the connection has been given that its socket has not taken yet."""
        return 0 if self._reader is None else self._reader.unsent

    def attach(self, reader: Reader) -> None:
        """Stop and resume this reader."""
        self._reader = reader

    def add(self, size: int) -> None:
        """Count a delivery that has come in."""
        self._held += size
        if self._held > self._most and not self._is_paused and self._reader is not None:
            self._is_paused = True
            self._reader.pause()

    def remove(self, size: int) -> None:
        """Count deliveries out that are settled, or that the broker has again."""
        self._held -= size
        if self._is_paused and self._held <= self._most // 2 and self._reader is not None:
            self._is_paused = False
            self._reader.resume()
