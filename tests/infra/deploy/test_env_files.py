"""``.services/env``: the settings of every process and tool of a checkout."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from events.envelope import now
from infra.commands.rotate_keys import rotate
from infra.deploy.env_files import env_file, process_environment, write_env
from infra.deploy.procfile import plan
from infra.deploy.services.directories import ServerDirectory
from infra.deploy.services.ports import choose_ports
from infra.deploy.services.provisioning import Servers
from infra.env_file import read_env_file
from infra.settings import Settings

NAMES = {
    "ADRELAY_URL",
    "RABBITMQ_URL",
    "DATABASE_URL",
    "REDIS_URL",
    "PROCESS_URLS",
    "PROMETHEUS_URL",
    "SANDBOX_URL",
    "ADRELAY_ADMIN_EMAIL",
    "ADRELAY_ADMIN_PASSWORD",
    "ADRELAY_API_KEY",
    "ADRELAY_API_KEY_SOURCE",
    "CLAUDE_WEBHOOK_SECRET",
    "CHATGPT_WEBHOOK_SECRET",
    "GEMINI_WEBHOOK_SECRET",
}
INGRESS, OPS = "amqp://ingress:i@h/v", "amqp://ops:o@h/v"
AWKWARD = "postgresql://a:p%27w$(x)@h/d?x=1&y=2"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[ServerDirectory]:
    directory = ServerDirectory(tmp_path / "state")
    directory.prepare()
    yield directory
    directory.remove()


def write(directory: ServerDirectory, **environment: str) -> dict[str, str]:
    urls = {"RABBITMQ_URL": "amqp://h/v", "DATABASE_URL": AWKWARD, "REDIS_URL": "redis://h/0"}
    own = {"web": {"RABBITMQ_URL": INGRESS}, "release": {"RABBITMQ_URL": OPS}}
    servers = Servers(urls, own, choose_ports(directory), has_private_broker=False)
    return write_env(directory, servers, plan(directory), environment)


def test_every_promised_variable_is_there(directory: ServerDirectory) -> None:
    written = write(directory)

    assert written.keys() >= NAMES
    assert all(written.values())
    assert read_env_file(env_file(directory)) == written


async def test_a_shell_reads_the_same_values(directory: ServerDirectory) -> None:
    written = write(directory)
    command = f"set -a; . {env_file(directory)}; env -0"

    shell = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", command, env={}, stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await shell.communicate()

    read = dict(line.split("=", 1) for line in answer.decode().split("\0") if line)
    assert {name: read[name] for name in written} == written


def test_only_the_owner_may_read_it(directory: ServerDirectory) -> None:
    write(directory)

    assert env_file(directory).stat().st_mode & 0o777 == 0o600
    assert env_file(directory, "auth").stat().st_mode & 0o777 == 0o600


def test_secrets_are_random_once_and_kept_afterwards(
    directory: ServerDirectory, tmp_path: Path
) -> None:
    other = ServerDirectory(tmp_path / "other")
    other.prepare()
    first, second, foreign = write(directory), write(directory), write(other)

    assert first == second
    assert first["CLAUDE_WEBHOOK_SECRET"] != foreign["CLAUDE_WEBHOOK_SECRET"]
    assert first["ADRELAY_ADMIN_PASSWORD"] != foreign["ADRELAY_ADMIN_PASSWORD"]


def test_keys_that_were_rotated_are_kept_at_the_next_start(directory: ServerDirectory) -> None:
    write(directory)
    files = env_file(directory), env_file(directory, "auth")
    rotate(*files, now())
    rotated = [read_env_file(file) for file in files]

    write(directory)

    assert [read_env_file(file) for file in files] == rotated
    assert len(rotated[0]["TOKEN_VERIFY_KEYS"].split()) == 2
    assert len(rotated[1]["TOKEN_SIGNING_KEY"].split()) == 2


def test_the_environment_overrides_a_secret(directory: ServerDirectory) -> None:
    assert write(directory, CLAUDE_WEBHOOK_SECRET="given")["CLAUDE_WEBHOOK_SECRET"] == "given"


def test_only_the_auth_worker_gets_the_private_keys(directory: ServerDirectory) -> None:
    write(directory)
    environments = {
        process.name: process_environment(directory, process, {}) for process in plan(directory)
    }

    private = {"TOKEN_SIGNING_KEY", "SEAL_PRIVATE_KEY"}
    assert {name for name, env in environments.items() if private & env.keys()} == {"auth"}
    assert environments["auth"].keys() >= private
    assert not any(name in env_file(directory).read_text() for name in private)


def test_only_those_who_use_tokens_of_accounts_can_decrypt_them(directory: ServerDirectory) -> None:
    written = write(directory)
    environments = {
        process.name: process_environment(directory, process, {}) for process in plan(directory)
    }

    keys = {name: env["VAULT_KEYS"] for name, env in environments.items() if "VAULT_KEYS" in env}
    assert keys.keys() == {"auth", "sync"}
    assert len(set(keys.values())) == 1
    assert "VAULT_KEYS" not in written


def test_only_the_sandbox_is_told_where_its_state_is(directory: ServerDirectory) -> None:
    written = write(directory)
    environments = {
        process.name: process_environment(directory, process, {}) for process in plan(directory)
    }

    told = {name for name, env in environments.items() if "SANDBOX_STATE" in env}
    assert told == {"sandbox"}
    assert "SANDBOX_STATE" not in written


def test_the_ingress_and_the_release_step_have_users_of_the_broker_for_themselves(
    directory: ServerDirectory,
) -> None:
    written = write(directory)
    environments = {
        process.name: process_environment(directory, process, {}) for process in plan(directory)
    }

    urls = {name: env["RABBITMQ_URL"] for name, env in environments.items()}
    assert urls.pop("web") == INGRESS
    assert set(urls.values()) == {written["RABBITMQ_URL"]} == {"amqp://h/v"}
    assert read_env_file(env_file(directory, "release")) == {"RABBITMQ_URL": OPS}


def test_each_process_gets_its_own_port(directory: ServerDirectory) -> None:
    write(directory)
    ports = [process_environment(directory, process, {})["PORT"] for process in plan(directory)]

    assert len(set(ports)) == len(ports)


def test_the_values_are_settings_that_a_process_accepts(directory: ServerDirectory) -> None:
    written = write(directory) | read_env_file(env_file(directory, "auth"))
    known = {name.lower(): value for name, value in written.items()}

    settings = Settings.model_validate(known)

    assert settings.platform("gemini").webhook_secrets[0].startswith("whsk_")
    assert settings.platform("chatgpt").webhook_secrets[0].startswith("whsec_")
    assert settings.token_signing_key is not None
    assert os.fspath(settings.claude_url).endswith("/claude")
