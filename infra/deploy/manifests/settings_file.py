"""Writes ``settings.env``: every setting that is no secret, with its default or another value.

Where a setting has no value by default, its line is a comment. The table ``ELSEWHERE`` says of the
others why they are not in the file.
"""

import shlex
import textwrap
from collections.abc import Callable, Mapping

from infra.amqp.permissions import CONSOLE_USER, INGRESS_USER, WORKERS_USER
from infra.commands.secret_files import SECRET_FILES
from infra.settings import GROUPS

LINE = 100
# Values of a deployment that are not the defaults of a checkout.
OVERRIDES: Mapping[str, str] = {
    "LOG_FORMAT": "json",
    "INGRESS_USER": f"{INGRESS_USER} {CONSOLE_USER}",
    "WORKERS_USER": WORKERS_USER,
    "PUBLIC_URL": "https://adrelay.example.com",
    "ISSUER": "https://adrelay.example.com",
    "BACKUP_MAX_AGE": "1D",
    "ADRELAY_ADMIN_EMAIL": "admin@example.com",
    "CLAUDE_URL": "http://sandbox:8090/claude",
    "CHATGPT_URL": "http://sandbox:8090/chatgpt",
    "GEMINI_URL": "http://sandbox:8090/gemini",
}
SECRETS = frozenset(name for names in SECRET_FILES.values() for name in names)
ELSEWHERE: Mapping[str, str] = {
    "HOST": "all of a container, loopback on a server: beside the command",
    "PORT": "each process has its own, beside its command",
    "PROCESS_URLS": "only the console reads it, which has it beside its command",
    "ADRELAY_URL": "only the sandbox reads it, which has it beside its command",
    "SANDBOX_STATE": "only the sandbox reads it, which has it beside its command",
    "SANDBOX_METRICS_SECONDS": "only the sandbox reads it, and its default is right",
    "SANDBOX_STATUS_SECONDS": "only the sandbox reads it, and its default is right",
}
HEADER = """\
# The settings of every process but the secrets. `adrelay settings` lists the same with the secrets.
# Written by python -m infra.deploy.manifests.build. Keep what you change in a file of your own
# that is read after it (docs/deploying.md).
"""


def write_settings_file(quote: Callable[[str], str] = shlex.quote) -> str:
    """Write the file as text: a comment and a line for each setting, group by group.

    kustomize reads a value as it stands; shells, systemd and container engines read quotes.
    """
    lines = [HEADER]
    for group in GROUPS:
        for field, info in group.model_fields.items():
            name = field.upper()
            if name in SECRETS or name in ELSEWHERE:
                continue
            lines += [f"# {line}" for line in textwrap.wrap(info.description or "", LINE - 2)]
            value = OVERRIDES.get(name, _write_default(info.default))
            lines.append(f"{name}={quote(value)}" if value else f"# {name}=")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _write_default(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return str(default)
