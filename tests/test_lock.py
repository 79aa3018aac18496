"""The lock files: complete, hashed, and silent about where anything was downloaded from."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from infra.deploy.services.directories import CHECKOUT

LOCKS = sorted((CHECKOUT / "requirements").glob("*.txt"))
NODE_LOCKS = [CHECKOUT / "tests/workers/ingress/javascript/package-lock.json"]
NAME = re.compile(r"^([a-z0-9][a-z0-9._-]*)(\[.*\])?==", re.MULTILINE)


def required(*extras: str) -> set[str]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    return {re.split(r"[\[<>=~!; ]", line)[0].lower() for line in wanted}


def locked(name: str) -> set[str]:
    text = (CHECKOUT / "requirements" / f"{name}.txt").read_text()
    return {found[0] for found in NAME.findall(text)}


def test_there_is_a_lock_for_each_kind_of_installation() -> None:
    assert [lock.stem for lock in LOCKS] == ["bench", "dev", "image", "run", "uv"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_names_no_host_and_no_path(lock: Path) -> None:
    text = lock.read_text()

    assert "://" not in text
    assert "--index-url" not in text
    assert "--find-links" not in text
    assert not re.search(r"(^|\s)/", text)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_locked_package_has_its_hashes(lock: Path) -> None:
    text = lock.read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]

    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)


def test_what_the_project_requires_is_locked() -> None:
    assert required() <= locked("run")
    assert required("dev") <= locked("dev")
    assert required("dev", "bench") <= locked("bench")
    assert locked("run") <= locked("dev") <= locked("bench")


@pytest.mark.parametrize("lock", NODE_LOCKS, ids=lambda lock: lock.parent.name)
def test_a_lock_for_node_has_hashes_and_no_addresses(lock: Path) -> None:
    packages = json.loads(lock.read_text())["packages"]
    installed = {name: package for name, package in packages.items() if name}

    assert installed
    assert all(package["integrity"].startswith("sha512-") for package in installed.values())
    assert not any("resolved" in package for package in installed.values())
