"""The log format: one JSON object a line, with an allow-list of fields.

What is not listed is not written, so a secret cannot be logged by a careless ``extra``. A message
that is handled writes no line.
"""

import atexit
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

from infra.log_deduplication import RepeatedLines
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
        }
        for name in FIELDS:
            value = record.__dict__.get(name)
            if value is not None:
                line[name] = escape(value, FIELD_LENGTH) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])[-8:]
            line["trace"] = [f"{f.filename}:{f.lineno} {f.name}" for f in frames]
        return orjson.dumps(line, default=str).decode()


def configure_logging(level: str) -> None:
    """Send JSON lines to standard error; the AMQP libraries never below INFO (they log bodies).

    Lines that repeat themselves are counted (``RepeatedLines``).
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    repeated = RepeatedLines(handler.handle)
    handler.addFilter(repeated)
    atexit.register(repeated.flush)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("aiormq", "aio_pika", "aiohttp.access", "alembic"):
        logging.getLogger(name).setLevel(max(logging.getLogger().level, logging.WARNING))
