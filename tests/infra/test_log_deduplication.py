"""Log lines that repeat themselves are counted."""

import os
import subprocess
import sys

import orjson

from tests.processes import ROOT

WRITE = """
import logging
from infra.logs import configure_logging
configure_logging("INFO")
log = logging.getLogger("test")
for number in range(1000):
    log.error("dead-lettered", extra={"queue": "metrics.record", "reason": "x" * 200_000})
log.error("dead-lettered", extra={"queue": "campaigns.apply", "reason": "\\x1b[2J\\nfake"})
log.warning("something else")
"""


def lines_of(program: str) -> list[dict[str, object]]:
    """Run a program of its own; gives the lines it logged."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        check=True,
        timeout=60,
    )
    return [orjson.loads(line) for line in done.stderr.splitlines()]


def test_a_thousand_equal_lines_are_twenty_and_a_count() -> None:
    lines = lines_of(WRITE)
    equal = [line for line in lines if line.get("queue") == "metrics.record"]
    assert len(equal) == 21
    assert equal[-1]["repeated"] == 980
    assert equal[-1]["message"] == "dead-lettered"
    assert sum(len(orjson.dumps(line)) for line in lines) < 30_000


def test_lines_of_another_queue_are_their_own_kind_and_what_a_publisher_wrote_is_escaped() -> None:
    (other,) = [line for line in lines_of(WRITE) if line.get("queue") == "campaigns.apply"]
    assert other["reason"] == "\\x1b[2J\\x0afake"


def test_the_count_comes_while_the_process_lives_on() -> None:
    program = """
import logging, threading
from infra.log_deduplication import RepeatedLines
from infra.logs import JsonLines
class Handler(logging.StreamHandler):
    def emit(self, record):
        super().emit(record)
        if hasattr(record, "repeated"):
            counted.set()
counted = threading.Event()
handler = Handler()
handler.setFormatter(JsonLines())
handler.addFilter(RepeatedLines(handler.handle, most=1, interval=0.05))
log = logging.getLogger("test")
log.addHandler(handler)
for _ in range(3):
    log.error("paused")
assert counted.wait(30)
log.error("paused")
"""
    assert [line.get("repeated") for line in lines_of(program)] == [None, 2, None]
