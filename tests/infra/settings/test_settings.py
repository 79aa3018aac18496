"""Settings are checked at start: one line with the variable and its rule, never the value."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from infra.deploy.procfile import read_procfile
from infra.env_file import parse_env, write_env
from infra.settings import Settings, load_settings, loader
from tests.fork_server import run_module

SECRET = "hunter2"
WRONG = [
    ("PORT", "99999"),
    ("PORT", "-1"),
    ("PORT", SECRET),
    ("MAX_EVENT_BYTES", "-5"),
    ("MAX_BATCH_EVENTS", "0"),
    ("MAX_BODY_BYTES", "1e3"),
    ("SEAL_PUBLIC_KEY", "x"),
    ("SEAL_PRIVATE_KEY", SECRET),
    ("TOKEN_VERIFY_KEYS", SECRET),
    ("TOKEN_SIGNING_KEY", SECRET),
    ("REFRESH_KEY", SECRET),
    ("VAULT_KEYS", SECRET),
    ("OPERATION_KEY", SECRET),
    ("CHATGPT_WEBHOOK_SECRET", SECRET),
    ("GEMINI_WEBHOOK_SECRET", f"whpk_{SECRET}"),
    ("DATABASE_URL", f"postgresql://x@127.0.0.1/x?sslrootcert={SECRET}"),
    ("DATABASE_URL", f"postgresql://x@127.0.0.1/x?sslmode={SECRET}"),
    ("RABBITMQ_CA_FILE", SECRET),
    ("DATABASE_CERT_FILE", SECRET),
    ("REDIS_KEY_FILE", SECRET),
    ("DATABASE_URL", f"mysql://{SECRET}@127.0.0.1/x"),
    ("RABBITMQ_URL", f"amqp://x:{SECRET}@"),
    ("RABBITMQ_URL", f"amqp://x:{SECRET}@127.0.0.1:99999/"),
    ("REDIS_URL", SECRET),
    ("RABBITMQ_MANAGEMENT_URL", f"ftp://{SECRET}"),
    ("CLAUDE_URL", SECRET),
    ("PUBLIC_URL", ""),
    ("TRUSTED_PROXIES", "10.0.0.1/8"),
    ("FORWARDED_HEADER", SECRET),
    ("PROCESS_URLS", SECRET),
    ("PROCESS_URLS", f"web=http://x:{SECRET}@127.0.0.1:8080"),
    ("WEB_PROCESSES", "0"),
    ("WEB_PROCESSES", SECRET),
    ("LOG_LEVEL", SECRET),
    ("LOG_LEVELS", SECRET),
    ("LOG_LEVELS", f"{SECRET}=debug"),
    ("LOG_LEVELS", "infra.nothing=debug"),
    ("LOG_LEVELS", "infra=info,aiormq.channel=debug"),
    ("LOG_FORMAT", SECRET),
    ("HEARTBEAT", "nan"),
    ("CONFIRM_DEADLINE", "inf"),
    ("CONFIRM_DEADLINE", "0"),
    ("REDIS_TIMEOUT", "-1"),
    ("DATABASE_POOL", "0"),
    ("ACCESS_TOKEN_SECONDS", "0"),
    ("ARGON2_MEMORY_KIB", "9"),
    ("LIMIT_LOGIN", SECRET),
    ("TOKEN_KEYS_SINCE", "2026-11-22"),
    ("HISTORY_MAX_AGE", "7d"),
    ("HISTORY_MAX_AGE", "0D"),
    ("HISTORY_MAX_BYTES", "-1"),
    ("BACKUP_MAX_AGE", "D"),
    ("ADRELAY_ADMIN_EMIAL", SECRET),
    ("ADRELAY_NOTHING", SECRET),
    ("DATABSE_URL", SECRET),
]
PROGRAMS = [
    *(command.removeprefix("python -m ") for command in read_procfile().values()),
    "infra.commands dead-letters list",
    "infra.commands queues list",
    "infra.commands seed",
    "infra.commands broker requeue-unrouted",
]


def start(module: str, *arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return run_module(module, *arguments, env={**kept, **changes})


def assert_one_line(done: "subprocess.CompletedProcess[str]", name: str) -> None:
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"{name}: "), done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stderr + done.stdout


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_setting_is_named_with_its_rule(name: str, value: str) -> None:
    assert_one_line(start("tests.infra.settings.load", **{name: value}), name)


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_process_starts_on_a_wrong_setting(program: str) -> None:
    assert_one_line(start(*program.split(), SEAL_PUBLIC_KEY=SECRET), "SEAL_PUBLIC_KEY")


def test_an_unknown_name_is_refused_with_the_nearest_setting() -> None:
    done = start("workers.metrics", ADRELAY_ADMIN_EMIAL=SECRET)
    assert done.stderr == "ADRELAY_ADMIN_EMIAL: is no setting; ADRELAY_ADMIN_EMAIL is\n"
    done = start("workers.metrics", ADRELAY_WEB_URL=SECRET)
    assert done.stderr.endswith("is no setting of Adrelay; the nearest is ADRELAY_URL\n")


def test_the_environment_comes_before_the_files_and_the_own_file_before_the_common_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "SERVICES_ENV", tmp_path / "env")
    (tmp_path / "env").write_text("HOST=a ISSUER=b AUDIENCE='c d'\n")
    (tmp_path / "release.env").write_text("ISSUER=e AUDIENCE=f\n")
    monkeypatch.setenv("AUDIENCE", "g")
    monkeypatch.setenv("host", "h")  # names are exact
    found = load_settings("release")
    assert (found.host, found.issuer, found.audience) == ("a", "e", "g")
    assert load_settings().issuer == "b"


def test_lists_are_words_separated_by_spaces() -> None:
    keys = f"{'A' * 43} {'B' * 42}A"
    found = Settings.model_validate(
        {"token_verify_keys": keys, "trusted_proxies": "10.0.0.0/8 ::/0"}
    )
    assert found.token_verify_keys == tuple(keys.split())
    assert len(found.trusted_proxies) == 2


def test_settings_that_contradict_each_other_are_refused() -> None:
    done = start("workers.metrics", MAX_EVENT_BYTES="4096", MAX_BODY_BYTES="2048")
    assert_one_line(done, "MAX_EVENT_BYTES")


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@examples(max_examples=200, deadline=None)
@given(st.lists(words | st.sampled_from(["it's", 'a"b', "a\nb", "#x", "\\", "$HOME", " "])))
def test_a_file_says_what_was_written_into_it(texts: list[str]) -> None:
    values = {f"NAME_{number}": text for number, text in enumerate(texts)}
    assert parse_env(write_env(values)) == values


@examples(max_examples=15, deadline=None)
@given(st.lists(words, min_size=20, max_size=20))
def test_a_shell_reads_a_file_as_we_do(texts: list[str]) -> None:
    written = write_env({f"NAME_{number}": text for number, text in enumerate(texts)})
    show = "".join(f'printf "%s\\0" "$NAME_{number}"\n' for number in range(len(texts)))
    done = subprocess.run(
        ["/bin/sh"], input=(written + show).encode(), capture_output=True, check=True
    )
    assert done.stdout.decode().split("\0")[:-1] == list(parse_env(written).values())
