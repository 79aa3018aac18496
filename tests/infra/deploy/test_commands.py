"""Commands that meet: one at a time, nothing left behind, and a word about what is not done."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.deploy.__main__ import COMMANDS
from infra.deploy.command_lock import command_lock
from infra.deploy.procfile import plan
from infra.deploy.services import postgres, redis
from infra.deploy.services.daemon import Daemon, NotStarted
from infra.deploy.services.directories import CHECKOUT, ServerDirectory
from infra.deploy.services.local_servers import start_local_servers, stop_local_servers
from infra.deploy.started_settings import changed_settings, parse_port, record_started_settings
from infra.process_start import process_start_time
from tests.processes import free_port

HOLD = """
import sys, time
from pathlib import Path
from infra.deploy.command_lock import command_lock
from infra.deploy.services.directories import ServerDirectory
with command_lock(ServerDirectory(Path(sys.argv[1])), "up", print):
    print("held", flush=True)
    time.sleep(60)
"""


def test_every_command_that_make_calls_is_one() -> None:
    called = re.findall(r"\$\(DEPLOY\) (\w+)", (CHECKOUT / "Makefile").read_text())
    assert {"up", "down", "status", "reset"} <= set(called) <= COMMANDS.keys()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[ServerDirectory]:
    directory = ServerDirectory(tmp_path / "state", durable=False)
    directory.prepare()
    yield directory
    stop_local_servers(directory)
    directory.remove()


def test_a_second_command_waits_and_says_for_which(directory: ServerDirectory) -> None:
    words = [sys.executable, "-c", HOLD, str(directory.state)]
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        words, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said: list[str] = []
        with (
            pytest.raises(NotStarted, match=rf"'make up' \(process {holder.pid}, since .*end it"),
            command_lock(directory, "up", said.append, wait_seconds=0.3),
        ):
            pass
        assert said
        assert said[0].startswith(f"waiting for 'make up' (process {holder.pid}, since ")
        waiting = threading.Timer(0.3, holder.kill)
        waiting.start()
        with command_lock(
            directory, "down", said.append, wait_seconds=20
        ):  # the kernel gives it back
            pass
        waiting.join()


def test_a_lock_that_a_reset_deleted_is_taken_again(directory: ServerDirectory) -> None:
    with command_lock(directory, "reset", print):
        directory.remove()
    with (
        command_lock(directory, "up", print),
        pytest.raises(NotStarted),
        command_lock(directory, "up", print, wait_seconds=0),
    ):
        pass


@pytest.mark.parametrize("server", [redis, postgres], ids=lambda server: server.NAME)
def test_a_server_that_no_pid_file_knows_is_found_by_its_data_and_ended(
    directory: ServerDirectory, server: object
) -> None:
    variable = "REDIS_URL" if server is redis else "DATABASE_URL"
    name = getattr(server, "NAME", "")
    start_local_servers(directory, [variable])
    orphan = Daemon(directory, name).pid()
    assert orphan is not None
    (directory.state / "run" / f"{name}.pid").unlink()
    said: list[str] = []
    folder = directory.data.resolve() / name
    with subprocess.Popen(["/bin/sleep", "60"], cwd=folder) as bystander:
        start_local_servers(directory, [variable], said.append)  # a second one would share its data
        assert process_start_time(orphan) is None
        again = Daemon(directory, name).pid()
        (directory.state / "run" / f"{name}.pid").unlink()
        stop_local_servers(directory)
        assert again is not None
        assert process_start_time(again) is None
        assert bystander.poll() is None  # somebody's shell in that folder is no server
        bystander.kill()
    assert said
    assert all(line.startswith("ending ") and "left behind by" in line for line in said)


def test_a_database_whose_making_was_cut_short_is_made_again(directory: ServerDirectory) -> None:
    start_local_servers(directory, ["DATABASE_URL"])
    stop_local_servers(directory)
    data = directory.data.resolve() / postgres.NAME / "data"
    (data / "PG_VERSION").unlink()

    start_local_servers(directory, ["DATABASE_URL"])

    assert (data / "PG_VERSION").exists()


def test_settings_that_a_running_system_was_not_started_with_are_named(
    directory: ServerDirectory,
) -> None:
    web = free_port()
    plan(directory, web)
    kept = {"CLAUDE_WEBHOOK_SECRET": "kept"}
    record_started_settings(directory, {"LOG_LEVEL": "INFO", "HOME": "/root"})
    same = {"LOG_LEVEL": "INFO", "CLAUDE_WEBHOOK_SECRET": "kept", "HOME": "/elsewhere"}
    same["ADRELAY_URL"] = f"http://127.0.0.1:{web}/"

    assert changed_settings(directory, same, kept) == []
    assert changed_settings(directory, {}, kept) == []
    other = {"ADRELAY_URL": f"http://127.0.0.1:{web + 1}", "RABBITMQ_URL": "amqp://h/v"}
    other |= {"MAX_EVENT_BYTES": "9999", "CLAUDE_WEBHOOK_SECRET": "another"}
    assert changed_settings(directory, other, kept) == sorted(other)
    assert "another" not in (directory.state / "started.json").read_text()


@pytest.mark.parametrize(
    "url", ["8081", "http://127.0.0.1", "http://127.0.0.1:99999", "https://x:1", "http://h:1"]
)
def test_an_address_that_is_none_is_named_with_the_rule(url: str) -> None:
    with pytest.raises(NotStarted, match="ADRELAY_URL must be"):
        parse_port(url)


def test_a_taken_port_is_refused_if_asked_for_and_else_said(directory: ServerDirectory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        with pytest.raises(NotStarted, match=f"port {taken} of ADRELAY_URL is taken"):
            plan(directory, taken)


def test_the_data_of_other_commands_outlives_a_reset(directory: ServerDirectory) -> None:
    for name in ("test", "chaos", "bench", "log"):
        (directory.state / name).mkdir(exist_ok=True)
    directory.remove()

    assert sorted(entry.name for entry in directory.state.iterdir()) == ["bench", "chaos", "test"]
