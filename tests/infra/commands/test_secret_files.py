"""All secrets of an installation: made once, each where it is used, and nowhere else."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from infra.amqp.permissions import SALT_BYTES, VHOST, broker_users, hash_password
from infra.commands.secret_files import (
    BROKER_PASSWORDS,
    PROCESS_FILES,
    SECRET_FILES,
    SERVER_FILES,
    ServerHosts,
    write_secret_files,
)
from infra.deploy.procfile import read_procfile
from infra.env_file import read_env_file
from infra.security.access_tokens import derive_public_key
from infra.settings import Settings
from tests.fork_server import run_module

HOSTS = ServerHosts("rabbitmq", "rabbitmq:15672", "postgres-rw:5433", "valkey")


def read_process(directory: Path, process: str) -> dict[str, str]:
    """Read what a process is given, as the container engine and systemd put it together."""
    values: dict[str, str] = {}
    for file in PROCESS_FILES[process]:
        values |= read_env_file(directory / f"{file}.env")
    return values


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(directory.iterdir())}


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    write_secret_files(tmp_path, HOSTS)
    before = contents(tmp_path)

    assert write_secret_files(tmp_path, HOSTS) == []
    assert contents(tmp_path) == before


def test_what_is_missing_is_made_and_the_rest_stays(tmp_path: Path) -> None:
    write_secret_files(tmp_path, HOSTS)
    before = contents(tmp_path)
    (tmp_path / "vault.env").unlink()
    (tmp_path / "web.env").write_text("")

    assert write_secret_files(tmp_path, HOSTS) == ["web: RABBITMQ_URL", "vault: VAULT_KEYS"]
    after = contents(tmp_path)
    assert after["web.env"] == before["web.env"]  # it follows from the password
    assert after["vault.env"] != before["vault.env"]
    own = {"vault.env", "kubernetes.json"}
    assert {n: t for n, t in after.items() if n not in own} == {
        n: t for n, t in before.items() if n not in own
    }


@pytest.mark.parametrize("file", ["broker", "postgres", "auth", "common"])
def test_half_of_what_belongs_together_is_not_made_again(tmp_path: Path, file: str) -> None:
    write_secret_files(tmp_path, HOSTS)
    (tmp_path / f"{file}.env").unlink()

    with pytest.raises(ValueError, match="is missing, to which"):
        write_secret_files(tmp_path, HOSTS)
    assert not (tmp_path / f"{file}.env").exists()


def test_every_process_has_its_files(tmp_path: Path) -> None:
    assert set(PROCESS_FILES) >= set(read_procfile())
    write_secret_files(tmp_path, HOSTS)

    for process in PROCESS_FILES:
        values = read_process(tmp_path, process)
        settings = Settings.model_validate({n.lower(): v for n, v in values.items()})
        if process != "sandbox":
            url = settings.database_url.get_secret_value()
            assert url.endswith("@postgres-rw:5433/adrelay"), process
            assert settings.rabbitmq_url.get_secret_value().endswith(f"@rabbitmq/{VHOST}"), process


def test_only_the_auth_worker_can_sign_and_open(tmp_path: Path) -> None:
    write_secret_files(tmp_path, HOSTS)

    for process in PROCESS_FILES:
        names = read_process(tmp_path, process).keys()
        assert ("TOKEN_SIGNING_KEY" in names) == (process == "auth")
        assert ("SEAL_PRIVATE_KEY" in names) == (process == "auth")
        assert ("VAULT_KEYS" in names) == (process in {"auth", "sync"})
        assert not names & {name for found in SERVER_FILES.values() for name in found}
    keys = read_process(tmp_path, "auth")
    assert derive_public_key(keys["TOKEN_SIGNING_KEY"]) == keys["TOKEN_VERIFY_KEYS"]


def test_the_definitions_have_the_passwords_of_the_urls_as_hashes(tmp_path: Path) -> None:
    write_secret_files(tmp_path, HOSTS)
    found = json.loads((tmp_path / "definitions.json").read_text())
    hashes = {user["name"]: user["password_hash"] for user in found["users"]}

    assert set(hashes) == {user.name for user in broker_users()}
    passwords = read_env_file(tmp_path / "broker.env")
    for user, name in BROKER_PASSWORDS.items():
        salt = base64.b64decode(hashes[user])[:SALT_BYTES]
        assert hash_password(passwords[name], salt) == hashes[user]


def test_a_changed_password_changes_its_hash_alone(tmp_path: Path) -> None:
    write_secret_files(tmp_path, HOSTS)
    before = json.loads((tmp_path / "definitions.json").read_text())
    path = tmp_path / "broker.env"
    path.write_text(re.sub(r"(?m)^(RABBITMQ_UPSTREAM_PASSWORD)=.*$", r"\1=other", path.read_text()))
    write_secret_files(tmp_path, HOSTS)
    after = json.loads((tmp_path / "definitions.json").read_text())

    changed = [
        old["name"] for old, new in zip(before["users"], after["users"], strict=True) if old != new
    ]
    assert changed == ["adrelay-upstream"]


def test_the_kubernetes_secrets_have_what_the_files_have(tmp_path: Path) -> None:
    write_secret_files(tmp_path, HOSTS)
    items = json.loads((tmp_path / "kubernetes.json").read_text())["items"]
    data = {item["metadata"]["name"]: item["stringData"] for item in items}

    for file in SECRET_FILES.keys() - {"broker", "postgres", "grafana"}:
        assert data[f"adrelay-{file}"] == read_env_file(tmp_path / f"{file}.env")
    loaded = data["adrelay-broker-definitions"]["definitions.json"]
    assert loaded == (tmp_path / "definitions.json").read_text()


def test_servers_with_tls_have_urls_with_tls(tmp_path: Path) -> None:
    write_secret_files(tmp_path, replace(HOSTS, management="rabbitmq:15671", tls=True))
    text = "".join(contents(tmp_path).values())

    assert not re.search(r"(amqp|http|redis)://[^ ]*@", text)
    assert read_env_file(tmp_path / "web.env")["RABBITMQ_URL"].startswith(
        "amqps://adrelay-ingress:"
    )
    assert read_env_file(tmp_path / "common.env")["REDIS_URL"].startswith("rediss://:")
    items = json.loads((tmp_path / "kubernetes.json").read_text())["items"]
    (scaler,) = (item for item in items if item["metadata"]["name"] == "adrelay-scaler")
    assert scaler["stringData"]["tls"] == "enable"
    assert re.fullmatch(r"https://.+@rabbitmq:15671/adrelay", scaler["stringData"]["host"])


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    write_secret_files(tmp_path / "secrets", HOSTS)

    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "secrets").iterdir()}
    assert modes.pop("definitions.json") == 0o644  # hashes, for the account of the broker
    assert set(modes.values()) == {0o600}


def test_every_reader_of_environment_files_reads_the_same(tmp_path: Path) -> None:
    """Docker, systemd and shells differ in quotes, so none is needed."""
    write_secret_files(tmp_path, HOSTS)

    for path in tmp_path.glob("*.env"):
        for line in path.read_text().splitlines():
            assert re.fullmatch(r"[A-Z_]+=[\w:/@.+=-]+", line)


def test_the_command_names_what_it_made_and_shows_no_secret(tmp_path: Path) -> None:
    words = ("keys", "generate", "--directory", str(tmp_path / "s"), "--database", "db")
    done = run_module("infra.commands", *words, env={})
    again = run_module("infra.commands", *words, "--json", env={})

    assert (done.returncode, done.stderr) == (0, "")
    assert "auth: TOKEN_SIGNING_KEY" in done.stdout
    values = {v for path in (tmp_path / "s").glob("*.env") for v in read_env_file(path).values()}
    assert not any(value in done.stdout for value in values)
    assert json.loads(again.stdout)["made"] == []
    assert "@db/adrelay" in read_env_file(tmp_path / "s" / "common.env")["DATABASE_URL"]


def test_the_command_refuses_a_file_that_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "common.env").write_text("what is this?\n")
    done = run_module("infra.commands", "keys", "generate", "--directory", str(tmp_path), env={})

    assert (done.returncode, done.stdout) == (1, "")
    assert "common.env: has a line that is not NAME=value" in done.stderr
