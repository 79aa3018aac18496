"""What a log line says, and what it never says."""

import logging
import os
import pty
import subprocess
import sys
from datetime import datetime

import orjson
import pytest

from infra.deploy.services.directories import CHECKOUT
from infra.logs import JsonLines, LogFormat, TextLines, choose_formatter, configure_logging


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


def text_of(message: str = "something happened", **extra: object) -> str:
    record = logging.getLogger("test").makeRecord(
        "infra.test", logging.WARNING, __file__, 1, message, (), None, extra=extra
    )
    return TextLines(coloured=False).format(record)


def test_a_line_of_text_has_time_level_logger_message_and_the_fields_that_are_listed() -> None:
    written = text_of(queue="metrics.record", reason='he said "no"', password="hunter2", count=3)

    time, _, rest = written.partition(" ")
    assert datetime.fromisoformat(time).tzinfo is not None
    assert time.endswith("Z")
    assert rest == (
        "WARNING  infra.test something happened queue=metrics.record"
        r' reason="he said \"no\"" count=3'
    )


def test_a_hostile_text_makes_no_line_colour_or_field_of_its_own() -> None:
    hostile = "x\n2026 ERROR fake\x1b[31m\u202e queue=other"

    written = text_of(hostile, event_id=hostile)

    assert written.isprintable()
    assert written.count("queue=other") == 2
    assert written.endswith(r'event_id="x\\x0a2026 ERROR fake\\x1b[31m\\u202e queue=other"')


def test_the_places_of_an_exception_follow_in_lines_of_their_own_without_its_text() -> None:
    try:
        int("the secret is hunter2")
    except ValueError:
        record = logging.getLogger("test").makeRecord(
            "x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info()
        )
    first, *places = TextLines(coloured=False).format(record).splitlines()

    assert first.endswith("ERROR    x failed error=ValueError")
    assert all(place.startswith("    /") for place in places)
    assert "test_logs.py" in places[-1]
    assert "hunter2" not in "".join(places)


@pytest.mark.parametrize(
    ("style", "is_terminal", "variables", "kind", "coloured"),
    [
        ("auto", True, {}, TextLines, True),
        ("auto", False, {}, JsonLines, False),
        ("json", True, {}, JsonLines, False),
        ("text", False, {}, TextLines, False),
        ("text", True, {}, TextLines, True),
        ("auto", True, {"NO_COLOR": "1"}, TextLines, False),
        ("auto", True, {"NO_COLOR": ""}, TextLines, True),
        ("auto", True, {"TERM": "dumb"}, TextLines, False),
    ],
)
def test_the_format_follows_the_setting_the_terminal_and_no_color(
    monkeypatch: pytest.MonkeyPatch,
    style: LogFormat,
    is_terminal: bool,  # noqa: FBT001 - a column of the table
    variables: dict[str, str],
    kind: type[logging.Formatter],
    coloured: bool,  # noqa: FBT001 - the same
) -> None:
    for name, value in {"NO_COLOR": "", "TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    record = logging.getLogger("x").makeRecord("x", logging.ERROR, __file__, 1, "m", (), None)

    formatter = choose_formatter(style, is_terminal=is_terminal)

    assert type(formatter) is kind
    assert ("\x1b[31m" in formatter.format(record)) is coloured


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_process_on_a_terminal_writes_text(variables: dict[str, str], coloured: bool) -> None:  # noqa: FBT001 - a column of the table
    ours, theirs = pty.openpty()
    code = "import logging; from infra.logs import configure_logging as c; c('INFO');"
    code += "logging.getLogger('infra.x').error('it failed', extra={'queue': 'q'})"
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", **variables}
    ran = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], cwd=CHECKOUT, stderr=theirs, env=environment, check=False
    )
    os.close(theirs)
    written = os.read(ours, 4096).decode()
    os.close(ours)

    assert ran.returncode == 0
    assert "it failed" in written
    assert not written.startswith("{")
    assert ("\x1b[" in written) is coloured
