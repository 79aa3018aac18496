"""Writes ``.services/env``: the settings of every process and tool of this checkout.

Shell syntax, so that ``. .services/env`` works too, and readable by its owner alone. Some
keys are in ``.services/auth.env``: only the auth worker may sign tokens and open sealed
credentials, and only it and the sync worker the tokens of connected accounts.
``RABBITMQ_URL`` is the workers' user of the broker; the ingress' is in ``web.env``, that
of the release step, which may declare, in ``release.env``. The sandbox alone knows its state
file, so that no other sandbox started from this checkout writes into it. Secrets are made on
the first start and kept; the environment overrides them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.deploy.procfile import SANDBOX, Process
from infra.deploy.secrets import make_secrets
from infra.deploy.services import prometheus
from infra.deploy.services.directories import ServerDirectory, write_private
from infra.deploy.services.provisioning import Servers
from infra.env_file import read_env_file
from infra.env_file import write_env as env_file_text
from schemas.types import PLATFORMS

# The variables that only some processes get.
PROCESS_SECRETS: Mapping[str, tuple[str, ...]] = {
    "auth": (
        "TOKEN_SIGNING_KEY",
        "TOKEN_KEYS_SINCE",
        "SEAL_PRIVATE_KEY",
        "REFRESH_KEY",
        "VAULT_KEYS",
    ),
    "sync": ("VAULT_KEYS",),
    SANDBOX: ("SANDBOX_STATE",),
}


def env_file(directory: ServerDirectory, process: str = "") -> Path:
    """Name the file for all processes, or the one for a single process."""
    return directory.state / (f"{process}.env" if process else "env")


def write_env(
    directory: ServerDirectory,
    servers: Servers,
    processes: Sequence[Process],
    environment: Mapping[str, str],
) -> dict[str, str]:
    """Write the files of this start; returns the values of the common one."""
    kept = read_env_file(env_file(directory))
    for process in PROCESS_SECRETS:
        kept |= read_env_file(env_file(directory, process))
    secrets = {
        name: environment.get(name) or kept.get(name) or made
        for name, made in make_secrets().items()
    }
    # The platforms remember what our database remembers, over a restart of both.
    state = {"SANDBOX_STATE": str(directory.state / "sandbox.json")}
    values = {**_addresses(servers, processes), **state, **secrets}
    own = {
        process: {name: values[name] for name in names}
        for process, names in PROCESS_SECRETS.items()
    }
    for process, told in {**own, **servers.own}.items():
        _write(env_file(directory, process), told)
    common = {
        n: v for n, v in values.items() if not any(n in names for names in PROCESS_SECRETS.values())
    }
    _write(env_file(directory), common)
    return common


def _addresses(servers: Servers, processes: Sequence[Process]) -> dict[str, str]:
    urls = {process.name: process.url for process in processes}
    sandbox = urls[SANDBOX]
    return {
        "ADRELAY_URL": urls["web"],
        "PUBLIC_URL": urls["web"],
        "PROCESS_URLS": " ".join(f"{n}={url}" for n, url in urls.items() if n != SANDBOX),
        **servers.urls,
        "PROMETHEUS_URL": prometheus.url(servers.ports),
        "SANDBOX_URL": sandbox,
        **{f"{platform.upper()}_URL": f"{sandbox}/{platform}" for platform in PLATFORMS},
    }


def _write(path: Path, values: Mapping[str, str]) -> None:
    write_private(path, env_file_text(values))


def process_environment(
    directory: ServerDirectory, process: Process, environment: Mapping[str, str]
) -> dict[str, str]:
    """Build the environment of a process: the files over ours, and its port."""
    common = read_env_file(env_file(directory))
    own = read_env_file(env_file(directory, process.name))
    return {**environment, **common, **own, "PORT": str(process.port)}
