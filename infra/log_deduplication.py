"""Log lines that say the same thing again and again are counted instead of written.

One mistake of a publisher makes a line for each of its messages, and one outage a line for each
try. Of lines that are equal (logger, level, template, and the fields in ``SAME``) the first
``MOST`` within ``INTERVAL`` are written; then one line says how many more there were.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

MOST = 20  # equal lines in an interval
INTERVAL = 10.0  # seconds
MOST_KINDS = 1000  # kinds of lines that are counted at a time
MOST_LENGTH = 200  # characters of a template by which lines are told apart
SAME = ("queue", "place", "code", "route", "status", "platform")  # closed sets, never a message's

Kind = tuple[object, ...]


@dataclass(slots=True)
class LineCount:
    """How many lines of a kind came since ``began`` (monotonic, in seconds), and what they say."""

    began: float
    summary: logging.LogRecord
    passed: int = 1
    held_back: int = 0


class RepeatedLines(logging.Filter):
    """Lets the first lines of a kind pass and writes, through ``write``, the count of the rest."""

    def __init__(
        self,
        write: Callable[[logging.LogRecord], object],
        *,
        most: int = MOST,
        interval: float = INTERVAL,
    ) -> None:
        """``interval`` is in seconds; the counts are written from a thread of its own."""
        super().__init__()
        self._write = write
        self._most = most
        self._interval = interval
        self._counts: dict[Kind, LineCount] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is written."""
        if "repeated" in record.__dict__:
            return True
        fields = map(record.__dict__.get, SAME)
        kind = (record.name, record.levelno, str(record.msg)[:MOST_LENGTH], *fields)
        with self._lock:
            return self._passes(kind, record, time.monotonic())

    def flush(self) -> None:
        """Write how many lines were held back until now, and begin to count again."""
        with self._lock:
            counts, self._counts = self._counts, {}
            self._timer = None
        for count in counts.values():
            if count.held_back:
                seconds = round(time.monotonic() - count.began, 3)
                count.summary.__dict__.update(repeated=count.held_back, seconds=seconds)
                self._write(count.summary)

    def _passes(self, kind: Kind, record: logging.LogRecord, at: float) -> bool:
        count = self._counts.get(kind)
        if count is None or (not count.held_back and at - count.began >= self._interval):
            self._make_room(at)
            if len(self._counts) < MOST_KINDS:
                self._counts[kind] = LineCount(at, _summary(record))
            return True
        if count.passed < self._most:
            count.passed += 1
            return True
        count.held_back += 1
        if self._timer is None:
            self._timer = threading.Timer(self._interval, self.flush)
            self._timer.daemon = True
            self._timer.start()
        return False

    def _make_room(self, at: float) -> None:
        """Forget the kinds of which nothing was held back and no line came of late."""
        if len(self._counts) < MOST_KINDS:
            return
        self._counts = {
            kind: count
            for kind, count in self._counts.items()
            if count.held_back or at - count.began < self._interval
        }


def _summary(record: logging.LogRecord) -> logging.LogRecord:
    """Make the line that stands for those that are held back; it keeps no exception alive."""
    place = (record.pathname, record.lineno)
    summary = logging.LogRecord(
        record.name, record.levelno, *place, str(record.msg)[:MOST_LENGTH], (), None
    )
    summary.__dict__.update({name: record.__dict__.get(name) for name in SAME})
    return summary
