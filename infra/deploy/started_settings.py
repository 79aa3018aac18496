"""Records the settings of a start, so that ``make up`` can name the ones that it cannot change.

Only digests are kept: values may be secrets.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlsplit

from infra.deploy.procfile import planned
from infra.deploy.services.daemon import NotStarted
from infra.deploy.services.directories import ServerDirectory, write_private
from infra.deploy.services.local_servers import SERVERS
from infra.deploy.services.provisioning import INGRESS_URL, OPS_URL, UPSTREAM_URL
from infra.settings import Settings

ADRELAY_URL = "ADRELAY_URL"
SETTING_NAMES = sorted(
    {
        *(name.upper() for name in Settings.model_fields),
        ADRELAY_URL,
        *SERVERS,
        INGRESS_URL,
        OPS_URL,
        UPSTREAM_URL,
    }
    - {"PORT"}  # each process has its own
)


def record_started_settings(directory: ServerDirectory, environment: Mapping[str, str]) -> None:
    """Note the settings of this start."""
    digests = {name: _digest(environment[name]) for name in SETTING_NAMES if environment.get(name)}
    write_private(directory.state / "started.json", json.dumps(digests) + "\n")


def changed_settings(
    directory: ServerDirectory, environment: Mapping[str, str], running: Mapping[str, str]
) -> list[str]:
    """Name the settings of ``environment`` that what runs was not started with.

    ``running`` has the values in the files of the directory.
    """
    try:
        started = json.loads((directory.state / "started.json").read_text())
    except (OSError, ValueError):
        return []
    changed = []
    for name in SETTING_NAMES:
        value = environment.get(name)
        if not value or value == running.get(name) or _digest(value) == started.get(name):
            continue
        if name == ADRELAY_URL and parse_port(value) in {
            p.port for p in planned(directory) if p.name == "web"
        }:
            continue
        changed.append(name)
    return changed


def parse_port(url: str) -> int | None:
    """Read the port of the ingress from ``ADRELAY_URL``; None where it names none.

    Raises ``NotStarted`` for what is no such address.
    """
    if not url:
        return None
    rule = f"{ADRELAY_URL} must be an address of this machine with a port, such as http://127.0.0.1:8081"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise NotStarted(rule) from None
    if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "localhost") or not port:
        raise NotStarted(rule)
    return port


def _digest(value: str) -> str:
    return sha256(value.encode(errors="surrogateescape")).hexdigest()
