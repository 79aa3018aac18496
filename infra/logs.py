"""The log formats, JSON and text, with an allow-list of fields.

What is not listed is not written, so a secret cannot be logged by a careless ``extra``. A message
that is handled writes no line.
"""

import atexit
import logging
import os
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from infra.log_deduplication import RepeatedLines
from infra.log_levels import apply_log_levels, parse_log_levels
from schemas.escaping import escape

FIELDS = (
    "queue",
    "event_id",
    "event_type",
    "source",
    "correlation_id",
    "request_id",
    "method",
    "route",
    "principal",
    "status",
    "code",
    "reason",
    "stage",
    "attempt",
    "count",
    "seconds",
    "task",
    "host",
    "port",
    "platform",
    "campaign_id",
    "error",
    "repeated",  # so many equal lines were counted instead of written
)
FIELD_LENGTH = 500  # characters of a field; the message may have as many
TRACE_FRAMES = 8  # of an exception, the innermost

LogFormat = Literal["auto", "text", "json"]
# What needs no quotes in a line of text.
PLAIN = re.compile(r"[^\s\"=]+")
RESET, DIM = "\x1b[0m", "\x1b[2m"
COLOURS = {"DEBUG": DIM, "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[1;31m"}


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object: time (UTC), level, logger, message, known fields.

    Of an exception the type and the places are written, never its text: database and
    validation errors quote the data they choked on. Texts are bounded, and what is not
    printable in them is escaped: publishers have written some of them.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Render one line without a line end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": escape(record.getMessage(), FIELD_LENGTH),
            **_fields_of(record),
        }
        if trace := _trace_of(record):
            line["trace"] = trace
        return orjson.dumps(line, default=str).decode()


class TextLines(logging.Formatter):
    """Writes a record as a line for people: time (UTC), level, logger, message, ``name=value``.

    The same fields as in ``JsonLines``; the places of an exception follow in lines of their own.
    """

    def __init__(self, *, coloured: bool) -> None:
        """Colour the level by its severity, if ``coloured``."""
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """Render one line, or several for an exception, without a line end."""
        at = datetime.fromtimestamp(record.created, UTC)
        level = self._colour(f"{record.levelname:<8}", COLOURS.get(record.levelname, ""))
        told = " ".join(
            f"{self._colour(name, DIM)}={_quote(value)}"
            for name, value in _fields_of(record).items()
        )
        line = " ".join(
            (
                self._colour(at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), DIM),
                level,
                self._colour(record.name, DIM),
                escape(record.getMessage(), FIELD_LENGTH),
                told,
            )
        )
        return "\n    ".join((line.rstrip(), *_trace_of(record)))

    def _colour(self, text: str, code: str) -> str:
        return f"{code}{text}{RESET}" if self._coloured and code else text


def configure_logging(level: str, levels: str = "", style: LogFormat = "auto") -> None:
    """Write log lines to standard error; ``levels`` are those of single loggers.

    Raises ``ValueError`` unless they are as ``infra.log_levels`` has them.

    ``auto`` is text on a terminal and JSON elsewhere. Lines that repeat themselves are counted
    (``RepeatedLines``).
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(choose_formatter(style, is_terminal=sys.stderr.isatty()))
    repeated = RepeatedLines(handler.handle)
    handler.addFilter(repeated)
    atexit.register(repeated.flush)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    apply_log_levels(logging.getLogger().level, parse_log_levels(levels))


def choose_formatter(style: LogFormat, *, is_terminal: bool) -> logging.Formatter:
    """Choose how lines are written; only a terminal is given colours, unless ``NO_COLOR`` is set.

    As https://no-color.org says, an empty ``NO_COLOR`` does not count; a dumb terminal has none.
    """
    if style == "json" or (style == "auto" and not is_terminal):
        return JsonLines()
    is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return TextLines(coloured=is_terminal and not is_plain)


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """List the known fields of a record, bounded and escaped, and the type of its exception."""
    fields: dict[str, Any] = {}
    for name in FIELDS:
        value = record.__dict__.get(name)
        if value is not None:
            fields[name] = escape(value, FIELD_LENGTH) if isinstance(value, str) else value
    if record.exc_info and record.exc_info[0] is not None:
        fields["error"] = record.exc_info[0].__name__
    return fields


def _trace_of(record: logging.LogRecord) -> list[str]:
    """List the places that an exception went through, the innermost last."""
    if not record.exc_info or record.exc_info[0] is None:
        return []
    frames = traceback.extract_tb(record.exc_info[2])[-TRACE_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _quote(value: object) -> str:
    """Write a value; one with blanks, quotes or ``=`` as a JSON string."""
    text = value if isinstance(value, str) else escape(str(value), FIELD_LENGTH)
    return text if PLAIN.fullmatch(text) else orjson.dumps(text).decode()
