"""Makes the next step of a key rotation: ``python -m infra.commands.rotate_keys rotate``.

    rotate  [--env FILE] [--auth-env FILE] [--json]

The keys stand in two files of ``NAME='value'`` lines: what every process is told
(TOKEN_VERIFY_KEYS), and what the auth worker alone is told (TOKEN_SIGNING_KEY); a checkout's
own by default. Run it, restart what it names, run it again when it says so; after three
turns (``infra.security.key_rotation``) the old key is gone. Too early, it changes nothing.

Exit status: 0 done, 1 refused (too early, not restarted, broken keys), 2 usage.
"""

import argparse
import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from events.envelope import now
from infra.deploy.env_files import env_file
from infra.deploy.process_status import read_status
from infra.deploy.services.directories import RUN_DIRECTORY, ServerDirectory, write_private
from infra.env_file import read_env_file
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

# What a turn waits for: processes of the one before it that have not been restarted.
BEFORE = {"sign": "web", "drop": "auth"}
OURS = ("TOKEN_SIGNING_KEY", "TOKEN_VERIFY_KEYS", "TOKEN_KEYS_SINCE")
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
    """Nothing was changed, and why, in words for a person."""


def rotate(env: Path, auth_env: Path, at: datetime) -> RotationStep:
    """Make the next turn in the files, at the time ``at`` (UTC).

    Raises ``RotationRefused``, and ``TooEarly`` when it is too early.
    """
    settings = _settings(env, auth_env)
    secret = settings.token_signing_key
    keys = KeySet(
        tuple(secret.get_secret_value().split()) if secret else (),
        settings.token_verify_keys,
        settings.token_keys_since,
    )
    life = timedelta(seconds=settings.access_token_seconds)
    try:
        since = _seen_since(ServerDirectory(env.parent), next_step(keys), keys.since)
        made = apply_next_step(
            replace(keys, since=since), now=at, life=life, make=make_signing_keys
        )
    except (InvalidKeySet, ValueError) as error:
        raise RotationRefused(str(error)) from None
    except TooEarly:
        if keys.since is None:
            _write(auth_env, {"TOKEN_KEYS_SINCE": _stamp(at)})
        raise
    # In this order an interrupted turn leaves keys with which everything goes on.
    after = made.keys
    told = {"TOKEN_SIGNING_KEY": " ".join(after.seeds), "TOKEN_KEYS_SINCE": _stamp(at)}
    _write(auth_env, told)
    _write(env, {"TOKEN_VERIFY_KEYS": " ".join(after.public_keys)})
    return made


def _settings(env: Path, auth_env: Path) -> Settings:
    for file in (env, auth_env):
        if not file.is_file():
            raise RotationRefused(f"there is no file {file}")
    found = {**os.environ, **read_env_file(env), **read_env_file(auth_env)}
    for name in OURS:
        if os.environ.get(name, found.get(name)) != found.get(name):
            raise RotationRefused(
                f"{name} is set in your environment too, to something else: unset it"
            )
    known = {name: found[name.upper()] for name in Settings.model_fields if name.upper() in found}
    try:
        return Settings.model_validate(known)
    except ValidationError as error:
        raise RotationRefused(describe_invalid(error)) from None


def _seen_since(directory: ServerDirectory, step: str, since: datetime | None) -> datetime | None:
    """Tell since when the last turn has been in use, as far as this place knows.

    Refuses a turn while a process that runs here has not been told of the last one.
    """
    status = read_status(directory).get(BEFORE.get(step, ""))
    if status is None or not status.is_alive or since is None:
        return since
    began = datetime.fromisoformat(status.since)
    if began < since:
        raise RotationRefused(
            f"{status.name} has not been restarted since the keys were changed: "
            f"kill {status.pid} (it is started again by itself), then run this again"
        )
    return began


def _stamp(at: datetime) -> str:
    """Write a time in whole seconds, never earlier than it is."""
    return datetime.fromtimestamp(math.ceil(at.timestamp()), UTC).isoformat()


def _write(file: Path, changes: Mapping[str, str]) -> None:
    """Change these lines of a file, and no others, in one step."""
    lines = [
        line for line in file.read_text().splitlines() if line.partition("=")[0] not in changes
    ]
    lines += [f"{name}={shlex.quote(value)}" for name, value in changes.items()]
    write_private(file, "".join(f"{line}\n" for line in lines))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; tells the exit status."""
    parser = argparse.ArgumentParser(
        "python -m infra.commands.rotate_keys",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["rotate"])
    parser.add_argument("--env", type=Path, default=env_file(RUN_DIRECTORY))
    parser.add_argument("--auth-env", type=Path, default=env_file(RUN_DIRECTORY, "auth"))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    try:
        made = rotate(asked.env, asked.auth_env, now())
    except TooEarly as early:
        words = f"Not yet: {STEP_DESCRIPTIONS[early.step]} at {_clock(early.at)} or later."
        return _tell(asked.json, 1, words, next_step=early.step, next_at=early.at.isoformat())
    except RotationRefused as refusal:
        return _tell(asked.json, 1, f"Refused: {refusal}.")
    return _tell(
        asked.json,
        0,
        _words(made),
        step=made.step,
        restart=RESTARTED_PROCESS[made.step],
        wait_seconds=int(made.wait.total_seconds()) if made.wait else None,
    )


def _words(made: RotationStep) -> str:
    if made.wait is None:
        return f"{DONE[made.step]}\n{NEXT[made.step]}."
    minutes = math.ceil(made.wait.total_seconds() / 60)
    again = f"{minutes} minutes after the last of them is up again, run this again"
    return f"{DONE[made.step]}\n{NEXT[made.step]}; {again}."


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def _tell(as_json: bool, status: int, words: str, **facts: Any) -> int:  # noqa: ANN401, FBT001 - what JSON knows; a flag of the command
    if as_json:
        print(orjson.dumps({"done": status == 0, **facts, "message": words}).decode())
    else:
        print(words, file=sys.stderr if status else sys.stdout)
    return status


if __name__ == "__main__":
    sys.exit(main())
