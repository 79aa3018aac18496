"""The command line: help with examples, quick imports, exit statuses, tables and JSON lines."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from infra.commands.cli import app
from infra.commands.output import print_table
from infra.env_file import parse_env
from infra.settings import Settings
from tests.fork_server import run_module
from tests.processes import ROOT

HEAVY = ("aio_pika", "aiohttp", "alembic", "redis", "sqlalchemy", "pydantic", "rich.table")
USAGE_ERRORS = [
    ("burn",),
    ("dead-letters", "burn"),
    ("dead-letters", "show"),
    ("dead-letters", "list", "--state", "burnt"),
    ("dead-letters", "edit", "79de3786"),
    ("dead-letters", "edit", "79de3786", "--set", "id=1", "--body", "-"),
    ("dead-letters", "replay"),
    ("dead-letters", "discard"),
    ("queues", "resume"),
    ("queues", "resume", "metrics.record", "--all"),
    ("broker", "permissions", "--part", "things"),
    ("broker", "permissions", "--passwords", "/nowhere"),
    ("keys", "rotate", "--seed", "secret"),
]


def run(*words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return run_module("infra.commands", *words, env={"PATH": os.environ["PATH"], **more})


def commands(command: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """List every command that does something, by the words that call it."""
    if not hasattr(command, "commands"):
        yield path
        return
    for name, below in command.commands.items():
        yield from commands(below, *path, name)


EVERY = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_shows_an_example_of_itself(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], prog_name="adrelay")
    assert shown.exit_code == 0
    assert f"    adrelay {' '.join(words)}" in shown.output.partition("Examples:")[2]


def test_help_and_completion_import_nothing_that_they_do_not_need() -> None:
    code = "import sys, infra.commands.cli; print(*sys.modules, sep='\\n')"
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not set(HEAVY) & set(done.stdout.splitlines())


def test_a_shell_completes_the_names_of_commands() -> None:
    asked = {"COMP_WORDS": "adrelay dead-letters re", "COMP_CWORD": "2"}
    done = run(_ADRELAY_COMPLETE="complete_bash", **asked)
    assert done.stdout.split() == ["replay"]


@pytest.mark.parametrize("words", USAGE_ERRORS, ids=" ".join)
def test_a_command_that_cannot_be_understood_exits_with_2(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("dead-letters", "list"), ("queues", "list")], ids=" ".join)
def test_an_unreachable_database_is_one_sentence_and_exits_with_1(words: tuple[str, ...]) -> None:
    done = run(*words, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_the_program_of_the_checkout_runs_from_any_folder(tmp_path: Path) -> None:
    program = ROOT / ".venv" / "bin" / "adrelay"
    assert program.is_file(), "make venv writes it"
    done = subprocess.run(  # noqa: S603 - our own program
        [program, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "dead-letters" in done.stdout


def test_a_table_without_a_terminal_cuts_nothing_and_interprets_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table(
        ("NAME", "REASON"), [("[bold]a[/bold]", "x" * 500), (":smile:\x1b[2J\n", "y\u202e")]
    )
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "REASON"]
    assert first.split() == ["[bold]a[/bold]", "x" * 500]
    assert second.split() == [":smile:\\x1b[2J\\x0a", "y\\u202e"]


def test_settings_are_listed_for_people_and_for_programs() -> None:
    names = {name.upper() for name in Settings.model_fields}
    listed = [json.loads(line) for line in run("settings", "--json").stdout.splitlines()]
    assert {line["name"] for line in listed} == names
    assert all(line["description"] for line in listed)
    assert "guest" not in str(listed)
    table = run("settings").stdout.splitlines()
    assert {line.split()[0] for line in table[1:]} == names


def test_generated_keys_are_settings_and_differ_each_time() -> None:
    found = [parse_env(run("keys", "generate").stdout) for _ in range(2)]
    for keys in found:
        Settings.model_validate({name.lower(): value for name, value in keys.items()})
    assert not set(found[0].values()) & set(found[1].values()) - {found[0]["TOKEN_KEYS_SINCE"]}
    assert json.loads(run("keys", "generate", "--json").stdout).keys() == found[0].keys()
