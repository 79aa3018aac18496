"""Makes the secrets of an installation in a directory: one environment file for each group.

A process is given only the files that it needs (``PROCESS_FILES``), so each secret is where it is
used and nowhere else. ``adrelay keys generate --directory`` writes them; what exists stays, so a
second run changes nothing, and a variable that was deleted is made again. From the files follow
``definitions.json`` (vhost, users and permissions for the broker, with hashed passwords) and
``kubernetes.json`` (the same as Secrets), which are written again at each run.
"""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.amqp.permissions import (
    CONSOLE_USER,
    INGRESS_USER,
    OPS_USER,
    SALT_BYTES,
    UPSTREAM_USER,
    VHOST,
    WORKERS_USER,
    definitions,
    hash_password,
)
from infra.base64url import KEY_BYTES
from infra.commands.generate_keys import generate_keys
from infra.commands.output import print_error, print_json
from infra.env_file import read_env_file, write_env_file, write_private_file
from infra.security.standard_webhooks import V1, V1A, make_webhook_secret
from infra.storage.api_keys import generate_api_key
from schemas.types import PLATFORMS

PASSWORD_BYTES = 24
ROLE = "adrelay"  # the role of Postgres, and the name of its database
# Webhook secrets are in each platform's own form; CLAUDE's is any text.
WEBHOOK_VERSIONS = {"chatgpt": V1, "gemini": V1A}
BROKER_PASSWORDS = {
    INGRESS_USER: "RABBITMQ_INGRESS_PASSWORD",
    CONSOLE_USER: "RABBITMQ_CONSOLE_PASSWORD",
    WORKERS_USER: "RABBITMQ_WORKERS_PASSWORD",
    UPSTREAM_USER: "RABBITMQ_UPSTREAM_PASSWORD",
    OPS_USER: "RABBITMQ_OPS_PASSWORD",
}
# The passwords of the servers, each of which gets its own file; no process of Adrelay reads them.
SERVER_FILES: Mapping[str, tuple[str, ...]] = {
    "broker": tuple(BROKER_PASSWORDS.values()),
    "postgres": ("POSTGRES_PASSWORD", "DATABASE_PASSWORD"),
    "valkey": ("REDIS_PASSWORD",),
    "grafana": ("GRAFANA_PASSWORD",),
}
SECRET_FILES: Mapping[str, tuple[str, ...]] = {
    **SERVER_FILES,
    "common": (
        "DATABASE_URL",
        "REDIS_URL",
        "OPERATION_KEY",
        "SEAL_PUBLIC_KEY",
        "TOKEN_VERIFY_KEYS",
    ),
    "workers": ("RABBITMQ_URL",),
    "web": ("RABBITMQ_URL",),
    "ops": ("RABBITMQ_URL",),
    "release": ("RABBITMQ_URL", "RABBITMQ_MANAGEMENT_URL"),
    "relay": ("RABBITMQ_MANAGEMENT_URL",),
    "auth": ("TOKEN_SIGNING_KEY", "TOKEN_KEYS_SINCE", "SEAL_PRIVATE_KEY", "REFRESH_KEY"),
    "vault": ("VAULT_KEYS",),
    "platforms": tuple(f"{name.upper()}_CLIENT_SECRET" for name in PLATFORMS),
    "webhooks": tuple(f"{name.upper()}_WEBHOOK_SECRET" for name in PLATFORMS),
    "seed": (
        "ADRELAY_ADMIN_PASSWORD",
        "ADRELAY_API_KEY",
        "UPSTREAM_RABBITMQ_URL",
    ),
}
# The files of each line of the Procfile, of the seed and of the sandbox.
PROCESS_FILES: Mapping[str, tuple[str, ...]] = {
    "release": ("common", "release"),
    "seed": ("common", "workers", "seed"),
    "web": ("common", "web", "webhooks"),
    "auth": ("common", "workers", "auth", "vault", "platforms"),
    "campaigns": ("common", "workers"),
    "sync": ("common", "workers", "vault", "platforms"),
    "metrics": ("common", "workers"),
    "relay": ("common", "workers", "relay"),
    "ops": ("common", "ops"),
    "sandbox": ("platforms", "webhooks"),
}

# What follows from another variable, in ``file: NAME``: without that one it is of no use.
SOURCES: Mapping[str, str] = {
    "common: TOKEN_VERIFY_KEYS": "auth: TOKEN_SIGNING_KEY",
    "auth: TOKEN_SIGNING_KEY": "common: TOKEN_VERIFY_KEYS",
    "common: SEAL_PUBLIC_KEY": "auth: SEAL_PRIVATE_KEY",
    "auth: SEAL_PRIVATE_KEY": "common: SEAL_PUBLIC_KEY",
    "common: DATABASE_URL": "postgres: DATABASE_PASSWORD",
    "common: REDIS_URL": "valkey: REDIS_PASSWORD",
    "workers: RABBITMQ_URL": "broker: RABBITMQ_WORKERS_PASSWORD",
    "web: RABBITMQ_URL": "broker: RABBITMQ_INGRESS_PASSWORD",
    "ops: RABBITMQ_URL": "broker: RABBITMQ_CONSOLE_PASSWORD",
    "release: RABBITMQ_URL": "broker: RABBITMQ_OPS_PASSWORD",
    "relay: RABBITMQ_MANAGEMENT_URL": "broker: RABBITMQ_OPS_PASSWORD",
}


@dataclass(frozen=True, slots=True)
class ServerHosts:
    """Where the servers are, each as ``host`` or ``host:port``, and whether they speak TLS."""

    broker: str
    management: str
    database: str
    redis: str
    tls: bool = False


def write_secret_files(directory: Path, hosts: ServerHosts) -> list[str]:
    """Write every file of the directory; returns the variables that were made, as ``file: NAME``.

    Raises ``ValueError`` for a malformed file and where half of what belongs together is gone,
    ``OSError`` where it cannot be written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {name: read_env_file(directory / f"{name}.env") for name in SECRET_FILES}
    _check_sources(files)
    known = {name: value for values in files.values() for name, value in values.items()}
    made = _make_values({n: v for file in SERVER_FILES for n, v in files[file].items()}, hosts)
    added = []
    for file, names in SECRET_FILES.items():
        missing = [name for name in names if name not in files[file]]
        for name in missing:
            own = made[file].get(name)
            files[file][name] = own if own is not None else known.get(name) or made["keys"][name]
            added.append(f"{file}: {name}")
        if missing:
            write_env_file(directory / f"{file}.env", files[file])
    _write_definitions(directory / "definitions.json", files["broker"])
    _write_json(directory / "kubernetes.json", _kubernetes_secrets(directory, files))
    return added


def write_and_report(directory: Path, hosts: ServerHosts, *, as_json: bool) -> int:
    """Write the files and say which variables were made, never their values; the exit status."""
    try:
        added = write_secret_files(directory, hosts)
    except (ValueError, OSError) as error:
        print_error(str(error))
        return 1
    if as_json:
        print_json({"directory": str(directory), "made": added})
    else:
        print("\n".join(added) if added else f"{directory}: nothing is missing")
    return 0


def _check_sources(files: Mapping[str, Mapping[str, str]]) -> None:
    there = {f"{file}: {name}" for file, values in files.items() for name in values}
    for name, source in SOURCES.items():
        if name in there and source not in there:
            raise ValueError(
                f"{source} is missing, to which {name} belongs: put it back, or delete both to have"
                " new ones made"
            )


def _make_values(servers: Mapping[str, str], hosts: ServerHosts) -> Mapping[str, Mapping[str, str]]:
    """Make a value for each variable: those of one file by its name, all others as ``keys``."""
    names = [name for found in SERVER_FILES.values() for name in found]
    passwords = {**{name: secrets.token_hex(PASSWORD_BYTES) for name in names}, **servers}
    amqp, http, redis = ("amqps", "https", "rediss") if hosts.tls else ("amqp", "http", "redis")
    url = {
        user: f"{amqp}://{user}:{passwords[name]}@{hosts.broker}/{VHOST}"
        for user, name in BROKER_PASSWORDS.items()
    }
    management = f"{http}://{OPS_USER}:{passwords[BROKER_PASSWORDS[OPS_USER]]}@{hosts.management}"
    webhooks = {
        f"{name.upper()}_WEBHOOK_SECRET": make_webhook_secret(WEBHOOK_VERSIONS[name])
        if name in WEBHOOK_VERSIONS
        else secrets.token_urlsafe(KEY_BYTES)
        for name in PLATFORMS
    }
    clients = {name: secrets.token_urlsafe(KEY_BYTES) for name in SECRET_FILES["platforms"]}
    database = f"{ROLE}:{passwords['DATABASE_PASSWORD']}@{hosts.database}/{ROLE}"
    keys = {
        **passwords,
        **generate_keys(),
        **webhooks,
        **clients,
        "DATABASE_URL": f"postgresql://{database}",
        "REDIS_URL": f"{redis}://:{passwords['REDIS_PASSWORD']}@{hosts.redis}/0",
        "RABBITMQ_MANAGEMENT_URL": management,
        "UPSTREAM_RABBITMQ_URL": url[UPSTREAM_USER],
        "ADRELAY_ADMIN_PASSWORD": secrets.token_urlsafe(PASSWORD_BYTES),
        "ADRELAY_API_KEY": generate_api_key().key,
    }
    users = {
        "workers": WORKERS_USER,
        "web": INGRESS_USER,
        "ops": CONSOLE_USER,
        "release": OPS_USER,
    }
    own: dict[str, Mapping[str, str]] = {file: {} for file in SECRET_FILES}
    own |= {file: {"RABBITMQ_URL": url[user]} for file, user in users.items()}
    return {**own, "keys": keys}


def _write_definitions(path: Path, servers: Mapping[str, str]) -> None:
    """Write the broker's definitions; the salts of an earlier file are kept."""
    passwords = {user: servers[name] for user, name in BROKER_PASSWORDS.items()}
    written = definitions(VHOST, passwords)
    kept = json.loads(path.read_text())["users"] if path.is_file() else []
    hashes = {user["name"]: user["password_hash"] for user in kept}
    for user in written["users"]:
        if old := hashes.get(user["name"]):
            salt = base64.b64decode(old)[:SALT_BYTES]
            if hash_password(passwords[user["name"]], salt) == old:
                user["password_hash"] = old
    _write_json(path, written)
    path.chmod(0o644)  # for the broker's own account; the directory is its owner's alone


def _kubernetes_secrets(directory: Path, files: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Build the Secrets ``adrelay-<file>``, and those that the servers' operators read."""
    login = {"username": ROLE, "password": files["postgres"]["DATABASE_PASSWORD"]}
    loaded = {"definitions.json": (directory / "definitions.json").read_text()}
    # The operators of the broker and of Postgres read the two that follow instead.
    named = files.keys() - {"broker", "postgres", "grafana"}
    items = [_secret(f"adrelay-{name}", files[name]) for name in files if name in named]
    items.append(_secret("adrelay-database-login", login, "kubernetes.io/basic-auth"))
    items.append(_secret("adrelay-broker-definitions", loaded))
    host = f"{files['release']['RABBITMQ_MANAGEMENT_URL']}/{VHOST}"
    tls = "enable" if host.startswith("https:") else "disable"
    # KEDA reads how much waits in the queues.
    items.append(_secret("adrelay-scaler", {"host": host, "tls": tls}))
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _secret(name: str, values: Mapping[str, str], kind: str = "Opaque") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "adrelay"}},
        "type": kind,
        "stringData": dict(values),
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step; only its owner may read it."""
    write_private_file(path, json.dumps(value, indent=1) + "\n")
