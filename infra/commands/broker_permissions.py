"""Writes the definitions of the broker's users and permissions as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path

from infra.amqp.permissions import (
    USER_NAME,
    broker_users,
    definitions,
    permission_definitions,
    resource_definitions,
)
from infra.amqp.policies import get_log_retention
from infra.env_file import read_env_file
from infra.settings import load_settings


def read_passwords(file: Path) -> dict[str, str]:
    """Read passwords by the name of the user, from lines such as ``adrelay-ops='password'``.

    Raises ``ValueError`` for a file that names no user, or another than Adrelay's.
    """
    passwords = read_env_file(file, USER_NAME)
    unknown = passwords.keys() - {user.name for user in broker_users()}
    if unknown or not passwords:
        raise ValueError(f"{file} names no user of Adrelay: {', '.join(sorted(unknown))}")
    return passwords


def write_definitions(vhost: str, passwords: Mapping[str, str], part: str) -> str:
    """Write a part of the definitions: ``all``, ``resources`` or ``permissions``."""
    retention = get_log_retention(load_settings())
    parts = {
        "all": definitions(vhost, passwords, retention),
        "resources": resource_definitions(vhost, passwords, retention),
        "permissions": permission_definitions(vhost),
    }
    return json.dumps(parts[part], indent=2)
