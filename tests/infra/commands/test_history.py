"""``adrelay history``: what it finds in the event log, and how it ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from pydantic import SecretStr

from events import CampaignMetricsReported
from events.envelope import encode
from infra.amqp import topology, topology_declaration
from infra.amqp.connection import BrokerConnection
from infra.amqp.message import build_message
from infra.resources import Resources
from infra.settings import Settings
from tests.fork_server import Forked, get_client, run_module
from tests.infra.indexing import indexed, indexing
from tests.infra.ledger import report, until
from tests.infra.messaging.log_reading import find_next_offset, write_log
from tests.services import environment

METRICS = "campaign.metrics_reported.v1.claude"


def run(settings: Settings, *words: str, **more: str) -> tuple[int, str, str]:
    """Run a command to its end; gives the exit status and what it printed."""
    variables = {**environment(settings), **more}
    done = run_module("infra.commands", "history", *words, env=variables)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def run_json(settings: Settings, *words: str) -> list[dict[str, Any]]:
    """Run a command that succeeds; gives its JSON lines."""
    status, printed, errors = run(settings, *words, "--json")
    assert status == 0, errors
    return [json.loads(line) for line in printed.splitlines()]


@pytest.fixture
async def start(broker: AbstractConnection, settings: Settings) -> AsyncIterator[int]:
    """The offset of the first event that the test publishes."""
    link = BrokerConnection(settings, "test:log")
    yield await find_next_offset(broker, link)
    await link.close()


async def publish(resources: Resources, *events: CampaignMetricsReported) -> None:
    """Publish as Adrelay does."""
    verdicts = await resources.publisher.publish_all([build_message(event) for event in events])
    assert set(verdicts) == {None}


async def test_the_last_events_are_printed_in_their_order(
    settings: Settings, resources: Resources, start: int
) -> None:
    await publish(resources, *(report(n) for n in range(1, 31)))
    lines = run_json(settings, "tail")
    assert [line["id"] for line in lines] == [f"e-{n}" for n in range(11, 31)]
    assert [line["offset"] for line in lines] == list(range(start + 10, start + 30))
    status, printed, _ = run(settings, "tail", "-n", "2")
    assert status == 0
    assert printed.splitlines()[0].split() == [
        *("OFFSET", "PUBLISHED", "TYPE", "SUBJECT", "SOURCE", "ID")
    ]
    assert [line.split()[-1] for line in printed.splitlines()[1:]] == ["e-29", "e-30"]


async def test_the_last_that_match_may_be_far_back(
    settings: Settings, resources: Resources, broker: AbstractConnection, start: int
) -> None:
    await publish(resources, report(1), report(2), report(3, source="urn:other"))
    await write_log(broker, [f"m-{n}" for n in range(6000)])
    lines = run_json(settings, "tail", "-n", "2", "--source", "urn:test")
    assert [line["offset"] for line in lines] == [start, start + 1]
    lines = run_json(settings, "tail", "-n", "1", "--field", "data.impressions=3")
    assert [line["id"] for line in lines] == ["e-3"]


async def test_matching_events_are_found_by_every_filter(
    settings: Settings, resources: Resources, start: int
) -> None:
    events = [report(1), report(2, subject="c-2"), report(3, source="urn:x")]
    await publish(resources, *events)
    for words, expected in (
        (("--subject", "c-2"), ["e-2"]),
        (("--source", "urn:x"), ["e-3"]),
        (("--id", "e-1"), ["e-1"]),
        (("--field", "data.impressions=2"), ["e-2"]),
        (("--type", "campaign.metrics_"), ["e-1", "e-2", "e-3"]),
    ):
        lines = run_json(settings, "grep", "--since", "1m", *words)
        assert [line["id"] for line in lines if line["offset"] >= start] == expected, words
    assert len(run_json(settings, "grep", "--limit", "2")) == 2
    status, printed, errors = run(settings, "grep", "--id", "e-1", "--until", "1h")
    assert (status, printed, errors) == (1, "", "no event matches\n")


async def test_a_time_divides_the_log(
    settings: Settings, resources: Resources, broker: AbstractConnection, start: int
) -> None:
    await publish(resources, report(1))
    await write_log(broker, ["foreign-1"])
    await asyncio.sleep(2.1)
    begins = run_json(settings, "show", str(start))[0]["published_at"]
    await publish(resources, report(2))
    await write_log(broker, ["foreign-2"])
    ends = run_json(settings, "show", str(start + 2))[0]["published_at"]
    assert begins < ends
    later = [line["offset"] for line in run_json(settings, "grep", "--since", ends)]
    assert later == [start + 2, start + 3]
    earlier = [line["offset"] for line in run_json(settings, "grep", "--until", begins)]
    assert earlier[-2:] == [start, start + 1]
    between = run_json(settings, "tail", "-n", "9", "--since", begins, "--until", begins)
    assert [line["offset"] for line in between][-2:] == [start, start + 1]


async def test_one_event_is_shown_with_its_properties_and_escaped(
    settings: Settings, broker: AbstractConnection, start: int
) -> None:
    body = b'{"id": "\x1b[31me-\xe2\x80\xae1", "note": "\x07"}'
    async with broker.channel() as channel:
        exchange = await channel.get_exchange(topology.EVENTS_EXCHANGE)
        message = Message(
            body, content_type="text/x", headers={"x-a\x1b": "b\n"}, message_id="m-1", priority=3
        )
        await exchange.publish(message, "user.registered.v1")
    status, printed, _ = run(settings, "show", str(start))
    assert status == 0
    assert printed.isascii()
    assert printed.replace("\n", "").isprintable()
    for words in ("message_id       m-1", "priority         3", r"header x-a\x1b   b\x0a"):
        assert words in printed
    assert r"\x1b[31me-" in printed
    (line,) = run_json(settings, "show", str(start))
    assert line["amqp_properties"]["headers"]["x-a\x1b"] == "b\n"


async def test_an_event_is_shown_by_its_id(
    settings: Settings, resources: Resources, start: int
) -> None:
    await publish(resources, report(1, id="77"), report(2, id="77", source="urn:x"))
    assert run_json(settings, "show", "77", "--id", "--source", "urn:x")[0]["offset"] == start + 1
    assert run_json(settings, "show", "--id", "77")[0]["id"] == "77"
    for words in (("show", "no-such-id"), ("show", str(start + 99)), ("show", "9" * 40)):
        status, printed, errors = run(settings, *words)
        assert (status, printed) == (1, "")
        assert errors.splitlines()[-1].startswith("the event log has no ")


async def test_an_id_is_looked_up_in_the_index_before_the_log_is_searched(
    settings: Settings, resources: Resources, start: int
) -> None:
    event = report(1, id=uuid4().hex)
    await publish(resources, event)
    status, printed, errors = run(settings, "show", event.id, "--json")
    assert (status, json.loads(printed)["offset"]) == (0, start)
    assert errors.startswith("the index of the event log does not have it: the log is searched")
    async with indexing(resources):
        await indexed(resources.engine, event.id)
    assert run(settings, "show", event.id, "--json") == (0, printed, "")


async def test_an_export_goes_on_behind_its_last_whole_line(
    settings: Settings, broker: AbstractConnection, start: int, tmp_path: Path
) -> None:
    await write_log(broker, ["m-1"], encode(report(1)), METRICS)
    await write_log(broker, ["m-2"], b"\xff", METRICS)
    file = tmp_path / "events.jsonl"
    words = ("export", str(file), "--from-offset", str(start))
    status, _, errors = run(settings, *words)
    assert (status, errors) == (0, f"2 events written; go on with --from-offset {start + 2}\n")
    first, second = map(json.loads, file.read_bytes().splitlines())
    assert (first["offset"], first["id"]) == (start, "e-1")
    assert (second["offset"], second["body_base64"]) == (start + 1, "/w==")
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])  # as after a kill
    assert run(settings, "export", str(file), "--from-offset", str(start + 1))[0] == 0
    assert file.read_bytes() == whole
    status, _, errors = run(settings, "export", str(file))
    assert status == 1
    assert "exists" in errors
    status, printed, _ = run(settings, "export", "-", "--from-offset", str(start), "--limit", "1")
    assert printed.encode() == whole.splitlines(keepends=True)[0]


@pytest.mark.parametrize(
    "words",
    [
        ("grep", "--since", "2026-11-30T08:00:00"),
        ("grep", "--since", "yesterday"),
        ("grep", "--since", "1h", "--until", "2h"),
        ("grep", "--field", "data.platform"),
        ("tail", "--follow", "--until", "1h"),
        ("tail", "-n", "0"),
        ("export",),
    ],
)
def test_what_is_typed_wrongly_is_a_usage_error(settings: Settings, words: tuple[str, ...]) -> None:
    status, printed, _ = run(settings, *words)
    assert (status, printed) == (2, "")


class Following:
    """A command that follows the log, and what it has printed."""

    def __init__(self, settings: Settings, output: Path, *words: str) -> None:
        self._output = output
        self._errors = output.with_suffix(".errors")
        with (
            output.open("wb") as stdout,
            self._errors.open("wb") as stderr,
            Path(os.devnull).open("rb") as null,
        ):
            streams = (null.fileno(), stdout.fileno(), stderr.fileno())
            self.process: Forked = get_client().start(
                "infra.commands", "history", *words, env=environment(settings), streams=streams
            )

    def ids(self) -> list[str]:
        return [json.loads(line)["id"] for line in self._output.read_bytes().splitlines()]

    async def has(self, *ids: str) -> bool:
        return self.ids() == list(ids)

    def end(self) -> tuple[int, bytes]:
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait()
        return status, self._errors.read_bytes()


async def test_following_goes_on_and_ends_with_ctrl_c(
    settings: Settings, resources: Resources, tmp_path: Path
) -> None:
    await publish(resources, report(1), report(2, source="urn:x"))
    words = ("tail", "-n", "1", "--follow", "--json", "--source", "urn:test")
    following = Following(settings, tmp_path / "out", *words)
    await until(lambda: following.has("e-1"))
    await publish(resources, report(3), report(4, source="urn:x"), report(5))
    await until(lambda: following.has("e-1", "e-3", "e-5"))
    assert following.end() == (130, b"")


async def test_a_reader_that_ends_early_ends_the_command_quietly(
    settings: Settings, resources: Resources
) -> None:
    await publish(resources, *(report(n) for n in range(1, 2000)))
    status, errors = await asyncio.to_thread(_read_one_line, settings)
    assert (status, errors) == (0, b"")


def _read_one_line(settings: Settings) -> tuple[int, bytes]:
    """Read one line of what a command prints, then close the pipe."""
    words = (sys.executable, "-m", "infra.commands", "history", "grep", "--json")
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        words, env=environment(settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    return process.wait(), errors


async def test_large_bodies_do_not_fill_the_memory(
    settings: Settings, broker: AbstractConnection, start: int, tmp_path: Path
) -> None:
    size, number = 1024 * 1024, 60
    own = settings.model_copy(update={"max_event_bytes": size, "max_body_bytes": size})
    await write_log(broker, [f"m-{n}" for n in range(number)], b"x" * size)
    words = ("export", "-", "--from-offset", str(start))
    out = tmp_path / "out"
    process = Following(own, out, *words).process
    peak = 0
    while process.returncode is None:
        peak = max(peak, _peak(process.pid) or peak)
        await asyncio.sleep(0.02)
    assert process.returncode == 0
    assert out.read_bytes().count(b"\n") == number
    assert peak < 180 * 1024 * 1024


def _peak(pid: int) -> int | None:
    """Read the highest resident memory of a process, in bytes; None when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024 if "VmHWM" in lines else None


async def test_without_an_event_log_every_command_says_so(
    settings: Settings, broker: AbstractConnection, tmp_path: Path
) -> None:
    async with broker.channel() as channel:
        await channel.queue_delete(topology.EVENT_LOG)
    for words in (
        ("tail",),
        ("tail", "--follow"),
        ("grep", "--since", "1h"),
        ("show", "1"),
        ("show", "e-1"),
        ("export", str(tmp_path / "out")),
    ):
        status, printed, errors = run(settings, *words)
        assert (status, printed) == (1, ""), words
        assert errors.splitlines()[-1].startswith("there is no event log"), errors
        assert errors.count("\n") == (2 if words == ("show", "e-1") else 1)
    await topology_declaration.declare(broker)


def test_a_broker_that_is_not_there_is_named_in_a_sentence(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"rabbitmq_url": SecretStr("amqp://a:b@127.0.0.1:1/")})
    status, _, errors = run(nowhere, "tail")
    assert status == 1
    assert errors.startswith("the event log cannot be read: the broker is gone")
