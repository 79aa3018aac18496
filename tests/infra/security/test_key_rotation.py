"""Tests each step of a rotation of the signing key: no token is rejected at any moment."""

import itertools
import json
import math
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from infra.commands.rotate_keys import RotationRefused, rotate, rotate_and_report
from infra.deploy.process_status import ProcessStatus, write_status
from infra.deploy.secrets import make_secrets
from infra.deploy.services.directories import ServerDirectory
from infra.env_file import read_env_file, write_env_file
from infra.process_start import process_start_time
from infra.security.access_tokens import (
    JWKS_MAX_AGE_SECONDS,
    LEEWAY_SECONDS,
    InvalidToken,
    TokenSigner,
    TokenVerifier,
    make_signing_keys,
)
from infra.security.key_rotation import (
    KEY_LIST_CACHE_TIME,
    RESTARTED_PROCESS,
    InvalidKeySet,
    KeySet,
    TooEarly,
    apply_next_step,
    next_step,
)
from infra.settings import Settings
from schemas.users import User
from tests.fork_server import run_module

USER = User(id=uuid4(), email="ada@example.com", role="manager")
NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
LIFE, LEEWAY = timedelta(seconds=900), timedelta(seconds=LEEWAY_SECONDS)
OLD, NEW = make_signing_keys(), make_signing_keys()


class Files:
    """The two environment files of an installation."""

    def __init__(self, folder: Path) -> None:
        self.env, self.auth_env = folder / "env", folder / "auth.env"
        secrets = make_secrets()
        private = ("TOKEN_SIGNING_KEY", "TOKEN_KEYS_SINCE", "SEAL_PRIVATE_KEY")
        self.auth_env.write_text("".join(f"{n}={secrets[n]}\n" for n in private))
        common = [name for name in secrets if name not in private]
        self.env.write_text("".join(f"{n}='{secrets[n]}'\n" for n in common))

    def read(self) -> dict[str, str]:
        return {**read_env_file(self.env), **read_env_file(self.auth_env)}

    def settings(self) -> Settings:
        return Settings.model_validate({n.lower(): v for n, v in self.read().items()})

    def set(self, name: str, value: str) -> None:
        file = self.env if f"{name}=" in self.env.read_text() else self.auth_env
        lines = [line for line in file.read_text().splitlines() if not line.startswith(name)]
        file.write_text("\n".join([*lines, f"{name}='{value}'"]) + "\n")

    def runs(self, name: str, since: datetime) -> None:
        """Write the status of a process that runs here since then."""
        pid = os.getpid()
        status = ProcessStatus(name, 1, "running", pid, process_start_time(pid), since.isoformat())
        write_status(ServerDirectory(self.env.parent), {name: status})

    def command(self, *words: str) -> tuple[int, dict[str, object]]:
        paths = ("--env", str(self.env), "--auth-env", str(self.auth_env))
        env = {k: v for k, v in os.environ.items() if not k.startswith("TOKEN_")}
        done = run_module("infra.commands", "keys", "rotate", *paths, "--json", *words, env=env)
        return done.returncode, json.loads(done.stdout)

    def back_date(self, by: timedelta) -> None:
        by += timedelta(seconds=1)  # What is written is rounded up to the next second.
        since = datetime.fromisoformat(self.read()["TOKEN_KEYS_SINCE"])
        self.set("TOKEN_KEYS_SINCE", (since - by).isoformat())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@dataclass
class SimulatedSystem:
    """A system with its own clock: running processes, valid tokens, and an external verifier.

    The external verifier has a copy of the public keys that is up to ten minutes old: a cache of
    five minutes had just fetched it, and the verifier keeps it for five more.
    """

    files: Files
    at: datetime = NOW
    signers: list[TokenSigner] = field(default_factory=list)
    verifiers: list[TokenVerifier] = field(default_factory=list)
    tokens: list[tuple[datetime, str]] = field(default_factory=list)
    copies: list[Settings] = field(default_factory=list)
    checked: int = 0

    def start(self) -> None:
        self.signers.append(TokenSigner(self.files.settings()))
        self.verifiers.append(TokenVerifier(self.files.settings()))
        self.copies = [self.files.settings()] * 11

    def minute(self) -> None:
        """Advance a minute: each auth worker signs, each verifier verifies all valid tokens."""
        self.at += timedelta(minutes=1)
        oldest = [jwk["x"] for jwk in self.verifiers[0].jwks()["keys"]]
        listing = self.files.settings().model_copy(update={"token_verify_keys": tuple(oldest)})
        self.copies = [*self.copies[1:], listing]
        self.tokens += [(self.at, signer.sign(USER, "s")) for signer in self.signers]
        self.tokens = [one for one in self.tokens if self.at - one[0] < LIFE + LEEWAY]
        for (_, token), verifier in itertools.product(
            self.tokens, [*self.verifiers, TokenVerifier(self.copies[0])]
        ):
            assert verifier.verify(token).user_id == USER.id
            self.checked += 1

    def restart(self, name: str) -> None:
        """Start a new process, run both for three minutes, and end the old one."""
        settings = self.files.settings()
        running: list[Any] = self.signers if name == "auth" else self.verifiers
        running.append(TokenSigner(settings) if name == "auth" else TokenVerifier(settings))
        for _ in range(3):
            self.minute()
        running.pop(0)

    def apply_step(self) -> timedelta | None:
        """Apply a step and restart the process that it names; returns how long to wait."""
        made = rotate(self.files.env, self.files.auth_env, self.at)
        for _ in range(2):  # the operator takes two minutes
            self.minute()
        self.restart(RESTARTED_PROCESS[made.step])
        return made.wait


def test_no_token_is_refused_at_any_moment_of_a_rotation(files: Files) -> None:
    system = SimulatedSystem(files)
    system.start()
    before = files.settings().token_verify_keys
    for _ in range(20):
        system.minute()
    while (wait := system.apply_step()) is not None:
        for _ in range(math.ceil(wait / timedelta(minutes=1))):
            system.minute()
    for _ in range(20):
        system.minute()
    after = files.settings().token_verify_keys
    assert len(after) == 1
    assert after != before
    assert system.checked > 1000


def test_the_simulation_notices_a_step_that_comes_too_early(files: Files) -> None:
    system = SimulatedSystem(files)
    system.start()
    for _ in range(20):
        system.minute()
    system.apply_step()
    files.back_date(KEY_LIST_CACHE_TIME)
    with pytest.raises(InvalidToken):
        system.apply_step()


def test_the_steps_come_in_order_and_never_too_early() -> None:
    keys, at, steps = KeySet((OLD.private,), (OLD.public,), NOW), NOW, []
    for _ in range(3):
        made = apply_next_step(keys, now=at, life=LIFE, make=lambda: NEW)
        steps.append((made.step, made.keys.seeds, made.keys.public_keys))
        keys = made.keys
        if made.wait is not None:
            for early in (timedelta(0), made.wait - timedelta(seconds=1)):
                with pytest.raises(TooEarly) as refusal:
                    apply_next_step(keys, now=at + early, life=LIFE, make=make_signing_keys)
                assert refusal.value.at == at + made.wait
            at += made.wait
    assert steps == [
        ("list", (OLD.private, NEW.private), (OLD.public, NEW.public)),
        ("sign", (NEW.private,), (OLD.public, NEW.public)),
        ("drop", (NEW.private,), (NEW.public,)),
    ]
    assert apply_next_step(keys, now=at, life=LIFE, make=make_signing_keys).step == "list"


def test_the_overlap_is_longer_than_any_token_and_any_copy_of_the_list() -> None:
    both = KeySet((NEW.private,), (OLD.public, NEW.public), NOW)
    with pytest.raises(TooEarly) as refusal:
        apply_next_step(both, now=NOW, life=LIFE, make=make_signing_keys)
    assert refusal.value.at - NOW > LIFE + LEEWAY
    assert KEY_LIST_CACHE_TIME.total_seconds() > JWKS_MAX_AGE_SECONDS


def test_a_step_that_was_interrupted_between_the_files_is_completed(files: Files) -> None:
    listed = files.env.read_text()
    rotate(files.env, files.auth_env, NOW)
    second = files.settings().token_verify_keys[1]
    files.env.write_text(listed)
    assert TokenVerifier(files.settings()).verify(TokenSigner(files.settings()).sign(USER, "s"))
    assert rotate(files.env, files.auth_env, NOW).step == "list"
    assert files.settings().token_verify_keys[1] == second


def test_keys_without_a_time_count_as_changed_now(files: Files) -> None:
    rotate(files.env, files.auth_env, NOW)
    lines = [line for line in files.auth_env.read_text().splitlines() if "SINCE" not in line]
    files.auth_env.write_text("\n".join(lines) + "\n")
    for later in (NOW, NOW + KEY_LIST_CACHE_TIME - timedelta(seconds=1)):
        with pytest.raises(TooEarly) as early:
            rotate(files.env, files.auth_env, later)
        assert early.value.at == NOW + KEY_LIST_CACHE_TIME
    assert rotate(files.env, files.auth_env, NOW + KEY_LIST_CACHE_TIME).step == "sign"


def test_keys_with_which_every_token_is_rejected_are_not_rotated(files: Files) -> None:
    with pytest.raises(InvalidKeySet):
        next_step(KeySet((OLD.private,), (NEW.public,)))
    files.set("TOKEN_VERIFY_KEYS", NEW.public)
    with pytest.raises(RotationRefused, match="TOKEN_VERIFY_KEYS"):
        rotate(files.env, files.auth_env, NOW)


def test_a_malformed_key_is_named_and_not_quoted(files: Files) -> None:
    files.set("TOKEN_SIGNING_KEY", "bogus")
    with pytest.raises(RotationRefused, match="TOKEN_SIGNING_KEY") as refusal:
        rotate(files.env, files.auth_env, NOW)
    assert "bogus" not in str(refusal.value)


def test_nothing_but_the_keys_changes_in_the_files_and_they_stay_private(files: Files) -> None:
    before = files.read()
    rotate(files.env, files.auth_env, NOW)
    after = files.read()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"TOKEN_SIGNING_KEY", "TOKEN_VERIFY_KEYS", "TOKEN_KEYS_SINCE"}
    assert after.keys() == before.keys()
    assert "TOKEN_SIGNING_KEY" not in files.env.read_text()
    assert {f.stat().st_mode & 0o777 for f in (files.env, files.auth_env)} == {0o600}


def test_values_with_quotes_and_line_ends_survive_a_rotation(files: Files) -> None:
    awkward = 'it\'s "quoted"\nTOKEN_VERIFY_KEYS=not this one $(x)'
    write_env_file(files.env, {"AWKWARD": awkward, **read_env_file(files.env)})
    rotate(files.env, files.auth_env, NOW)
    after = read_env_file(files.env)
    assert after["AWKWARD"] == awkward
    assert len(after["TOKEN_VERIFY_KEYS"].split()) == 2


def test_a_malformed_file_is_named_and_left_as_it_is(files: Files) -> None:
    files.env.write_text(files.env.read_text() + "OPEN='quote")
    before = files.env.read_text()
    with pytest.raises(RotationRefused, match="env: has a quote without its end"):
        rotate(files.env, files.auth_env, NOW)
    assert files.env.read_text() == before


@pytest.mark.parametrize(("step", "name"), [("sign", "web"), ("drop", "auth")])
def test_a_process_that_has_not_been_restarted_delays_the_next_step(
    files: Files, step: str, name: str
) -> None:
    day = timedelta(days=1)
    at = NOW
    rotate(files.env, files.auth_env, at)
    if step == "drop":
        at += day
        rotate(files.env, files.auth_env, at)
    files.runs(name, at - day)
    with pytest.raises(RotationRefused, match=f"{name} has not been restarted") as refusal:
        rotate(files.env, files.auth_env, at + day)
    assert f"kill {os.getpid()}" in str(refusal.value)
    files.runs(name, at + day)
    with pytest.raises(TooEarly):
        rotate(files.env, files.auth_env, at + day)
    assert rotate(files.env, files.auth_env, at + day + day).step == step


def test_a_key_in_the_environment_that_would_win_later_is_refused(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_VERIFY_KEYS", NEW.public)
    with pytest.raises(RotationRefused, match="TOKEN_VERIFY_KEYS is set in your environment"):
        rotate(files.env, files.auth_env, NOW)


def test_the_command_says_what_to_restart_and_when_to_come_again(files: Files) -> None:
    status, output = files.command()
    assert (status, output["step"], output["restart"], output["wait_seconds"]) == (
        0,
        "list",
        "web",
        600,
    )
    status, output = files.command()
    assert (status, output["done"], output["next_step"]) == (1, False, "sign")
    assert datetime.fromisoformat(str(output["next_at"])) > datetime.now(UTC)
    files.back_date(KEY_LIST_CACHE_TIME)
    status, output = files.command()
    assert (status, output["step"], output["restart"], output["wait_seconds"]) == (
        0,
        "sign",
        "auth",
        965,
    )
    files.back_date(timedelta(seconds=965))
    status, output = files.command()
    assert (status, output["step"], output["restart"], output["wait_seconds"]) == (
        0,
        "drop",
        "web",
        None,
    )


def test_the_command_prints_instructions_and_no_key(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rotate_and_report(files.env, files.auth_env, as_json=False) == 0
    assert rotate_and_report(files.env, files.auth_env, as_json=False) == 1
    printed = capsys.readouterr()
    assert "Restart every ingress (web) now; 10 minutes after" in printed.out
    assert "Not yet: sign with the new key at" in printed.err
    for seed in files.read()["TOKEN_SIGNING_KEY"].split():
        assert seed not in printed.out + printed.err


def test_without_files_the_command_says_which_one_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "env"
    assert rotate_and_report(gone, gone, as_json=False) == 1
    assert f"there is no file {gone}" in capsys.readouterr().err
