"""What a log line says, and what it never says."""

import logging
import sys

import orjson

from infra.logs import JsonLines, configure_logging


def line_of(**extra: object) -> dict[str, object]:
    record = logging.getLogger("test").makeRecord(
        "infra.test", logging.WARNING, __file__, 1, "something %s", ("happened",), None, extra=extra
    )
    found: dict[str, object] = orjson.loads(JsonLines().format(record))
    return found


def test_a_line_is_json_with_the_fields_that_are_listed() -> None:
    line = line_of(queue="metrics.record", event_id="e-1", password="hunter2")
    assert line["message"] == "something happened"
    assert line["queue"] == "metrics.record"
    assert line["event_id"] == "e-1"
    assert "password" not in line
    assert "hunter2" not in str(line)


def test_an_exceptions_text_is_not_written_but_its_type_and_place_are() -> None:
    try:
        int("the secret is hunter2")
    except ValueError:
        record = logging.getLogger("test").makeRecord(
            "x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info()
        )
    written = JsonLines().format(record)
    assert "hunter2" not in written
    assert orjson.loads(written)["error"] == "ValueError"
    assert "test_logs.py" in written


def test_the_amqp_libraries_never_log_bodies() -> None:
    before = logging.getLogger().level
    try:
        configure_logging("DEBUG")
        assert not logging.getLogger("aiormq").isEnabledFor(logging.INFO)
        assert not logging.getLogger("aio_pika").isEnabledFor(logging.INFO)
    finally:
        logging.basicConfig(level=before, force=True)
