"""Applies the next step of a key rotation to two environment files.

One file holds what every process is given (TOKEN_VERIFY_KEYS), the other what the auth worker
alone is given (TOKEN_SIGNING_KEY). Run the command, restart the processes that it names, and run
it again when it says so; after three steps (``infra.security.key_rotation``) the old key is gone.
Before its time a step changes nothing. The files are rewritten, without their comments.

``adrelay keys rotate`` runs it. Exit status: 0 done, 1 refused (too early, not restarted, invalid
keys), 2 usage.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from events.envelope import now
from infra.commands.output import print_error, print_json
from infra.env_file import read_env_file, write_env_file
from infra.process_start import process_start_time
from infra.security.access_tokens import make_signing_keys
from infra.security.key_rotation import (
    RESTARTED_PROCESS,
    STEP_DESCRIPTIONS,
    InvalidKeySet,
    KeySet,
    RotationStep,
    TooEarly,
    apply_next_step,
    next_step,
)
from infra.settings import Settings, describe_invalid

STATUS_FILE = "status.json"  # beside the env file, written by the supervisor of a checkout

# The process that must have been restarted since the previous step.
RESTARTED_BEFORE = {"sign": "web", "drop": "auth"}
ROTATED_VARIABLES = ("TOKEN_SIGNING_KEY", "TOKEN_VERIFY_KEYS", "TOKEN_KEYS_SINCE")
DONE = {
    "list": "The new public key is listed; the old key still signs.",
    "sign": "The new key signs; tokens of the old one are still accepted.",
    "drop": "The old key is gone from the files; the rotation is complete.",
}
NEXT = {
    "list": "Restart every ingress (web) now",
    "sign": "Restart every auth worker (auth) now",
    "drop": "Restart every ingress (web) at any time",
}


class RotationRefused(Exception):
    """Nothing was changed; the message says why."""


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A process that the supervisor of this checkout runs, and when it started (UTC)."""

    name: str
    pid: int
    since: datetime


def rotate(env: Path, auth_env: Path, at: datetime) -> RotationStep:
    """Apply the next step to the files, at the time ``at`` (UTC).

    Raises ``RotationRefused``, and ``TooEarly`` before the time of the step.
    """
    settings = _read_settings(env, auth_env)
    secret = settings.token_signing_key
    keys = KeySet(
        tuple(secret.get_secret_value().split()) if secret else (),
        settings.token_verify_keys,
        settings.token_keys_since,
    )
    life = timedelta(seconds=settings.access_token_seconds)
    try:
        since = _in_use_since(env.with_name(STATUS_FILE), next_step(keys), keys.since)
        applied = apply_next_step(
            replace(keys, since=since), now=at, life=life, make=make_signing_keys
        )
    except (InvalidKeySet, ValueError) as error:
        raise RotationRefused(str(error)) from None
    except TooEarly:
        if keys.since is None:
            _update(auth_env, {"TOKEN_KEYS_SINCE": _format_time(at)})
        raise
    # The order matters: a step that is interrupted in between leaves keys that work.
    seeds, public_keys = " ".join(applied.keys.seeds), " ".join(applied.keys.public_keys)
    _update(auth_env, {"TOKEN_SIGNING_KEY": seeds, "TOKEN_KEYS_SINCE": _format_time(at)})
    _update(env, {"TOKEN_VERIFY_KEYS": public_keys})
    return applied


def rotate_and_report(env: Path, auth_env: Path, *, as_json: bool) -> int:
    """Apply the next step, print what to do now, and return the exit status."""
    try:
        applied = rotate(env, auth_env, now())
    except TooEarly as early:
        message = (
            f"Not yet: {STEP_DESCRIPTIONS[early.step]} at {early.at:%Y-%m-%d %H:%M:%S}Z or later."
        )
        next_at = early.at.isoformat()
        return _report(1, message, as_json=as_json, next_step=early.step, next_at=next_at)
    except RotationRefused as refused:
        return _report(1, f"Refused: {refused}.", as_json=as_json)
    return _report(
        0,
        _describe(applied),
        as_json=as_json,
        step=applied.step,
        restart=RESTARTED_PROCESS[applied.step],
        wait_seconds=int(applied.wait.total_seconds()) if applied.wait else None,
    )


def _read_settings(env: Path, auth_env: Path) -> Settings:
    for file in (env, auth_env):
        if not file.is_file():
            raise RotationRefused(f"there is no file {file}")
    try:
        found = {**os.environ, **read_env_file(env), **read_env_file(auth_env)}
    except ValueError as error:
        raise RotationRefused(str(error)) from None
    for name in ROTATED_VARIABLES:
        if os.environ.get(name, found.get(name)) != found.get(name):
            raise RotationRefused(
                f"{name} is set in your environment too, to something else: unset it"
            )
    known = {name: found[name.upper()] for name in Settings.model_fields if name.upper() in found}
    try:
        return Settings.model_validate(known)
    except ValidationError as error:
        raise RotationRefused(describe_invalid(error)) from None


def _in_use_since(status_file: Path, step: str, changed_at: datetime | None) -> datetime | None:
    """Return since when the keys of the previous step are in use, as far as is known here.

    Raises ``RotationRefused`` while a process that runs here still has the keys before them.
    """
    process = read_running_process(status_file, RESTARTED_BEFORE.get(step, ""))
    if process is None or changed_at is None:
        return changed_at
    if process.since < changed_at:
        raise RotationRefused(
            f"{process.name} has not been restarted since the keys were changed: "
            f"kill {process.pid} (it is started again by itself), then run this again"
        )
    return process.since


def read_running_process(status_file: Path, name: str) -> RunningProcess | None:
    """Read a process from the supervisor's file; None if it does not run here."""
    try:
        entries = json.loads(status_file.read_text())
    except (OSError, ValueError):
        return None
    for entry in entries:
        pid = entry["pid"]
        if entry["name"] == name and pid is not None:
            if process_start_time(pid) != entry["start_time"]:
                return None
            return RunningProcess(name, pid, datetime.fromisoformat(entry["since"]))
    return None


def _format_time(at: datetime) -> str:
    """Write a time in whole seconds, rounded up."""
    return datetime.fromtimestamp(math.ceil(at.timestamp()), UTC).isoformat()


def _update(file: Path, changes: Mapping[str, str]) -> None:
    """Change variables of a file; the others keep their values and their order."""
    write_env_file(file, {**read_env_file(file), **changes})


def _describe(applied: RotationStep) -> str:
    if applied.wait is None:
        return f"{DONE[applied.step]}\n{NEXT[applied.step]}."
    minutes = math.ceil(applied.wait.total_seconds() / 60)
    again = f"{minutes} minutes after the last of them is up again, run this again"
    return f"{DONE[applied.step]}\n{NEXT[applied.step]}; {again}."


def _report(status: int, message: str, *, as_json: bool, **facts: Any) -> int:  # noqa: ANN401 - JSON values
    if as_json:
        print_json({"done": status == 0, **facts, "message": message})
    elif status:
        print_error(message)
    else:
        print(message)
    return status
