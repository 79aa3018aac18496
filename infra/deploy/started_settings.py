"""With which settings a place was started, so that ``make up`` can say what it cannot change.

Only digests are kept: values may be secrets.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlsplit

from infra.deploy.procfile import planned
from infra.deploy.services.daemon import NotStarted
from infra.deploy.services.directories import Place, write_private
from infra.deploy.services.local_servers import SERVERS
from infra.deploy.services.provisioning import INGRESS, OPS, UPSTREAM
from infra.settings import Settings

URL = "ADRELAY_URL"
NAMES = sorted(
    {*(name.upper() for name in Settings.model_fields), URL, *SERVERS, INGRESS, OPS, UPSTREAM}
    - {"PORT"}  # each process has its own
)


def write_started(place: Place, environment: Mapping[str, str]) -> None:
    """Note the settings of this start."""
    digests = {name: _digest(environment[name]) for name in NAMES if environment.get(name)}
    write_private(place.state / "started.json", json.dumps(digests) + "\n")


def changed_settings(
    place: Place, environment: Mapping[str, str], running: Mapping[str, str]
) -> list[str]:
    """Name the settings of ``environment`` that what runs was not started with.

    ``running`` is what stands in the files of the place.
    """
    try:
        started = json.loads((place.state / "started.json").read_text())
    except (OSError, ValueError):
        return []
    changed = []
    for name in NAMES:
        value = environment.get(name)
        if not value or value == running.get(name) or _digest(value) == started.get(name):
            continue
        if name == URL and port_of(value) in {p.port for p in planned(place) if p.name == "web"}:
            continue
        changed.append(name)
    return changed


def port_of(url: str) -> int | None:
    """Read the port of the ingress from ``ADRELAY_URL``; None where it names none.

    Raises ``NotStarted`` for what is no such address.
    """
    if not url:
        return None
    rule = f"{URL} must be an address of this machine with a port, such as http://127.0.0.1:8081"
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
