"""Installs a hashed lock file with uv, with pip's settings.

    python infra/deploy/uv_install.py requirements/run.txt

pip reads an index, further indexes, links and a certificate from its configuration and its
environment; uv reads none of these, and trusts certificates that it brings along instead of the
machine's. uv's own variables win. Values may hold credentials: they reach uv's
environment and nothing else, and what uv says is printed without them.

Runs before anything is installed: the standard library alone.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# pip's name, uv's, and the separator of several values.
SETTINGS = (
    ("index-url", "UV_DEFAULT_INDEX", " "),
    ("extra-index-url", "UV_INDEX", " "),
    ("find-links", "UV_FIND_LINKS", ","),
    ("trusted-host", "UV_INSECURE_HOST", " "),
    ("cert", "SSL_CERT_FILE", " "),
    ("proxy", "ALL_PROXY", " "),
)
# Where systems keep the certificates that they trust.
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
CREDENTIALS = re.compile(r"://[^/\s@]*@")
ADVICE = (
    "adrelay: the Python packages could not be installed. If they come from an index of your own,"
    " or your network has a certificate of its own, name them and try again:"
    " UV_DEFAULT_INDEX=<index> SSL_CERT_FILE=<file> make run"
)


def read_pip_settings() -> dict[str, str]:
    """Read pip's configuration; a variable comes before a file, a command's section before all."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = dict(line.split("=", 1) for line in listed.stdout.splitlines() if "=" in line)
    settings: dict[str, str] = {}
    for name, _, _ in SETTINGS:
        for section in (":env:", "install", "global"):
            if value := found.get(f"{section}.{name}"):
                settings[name] = str(ast.literal_eval(value))
                break
    return settings


def uv_environment(pip_settings: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Pass pip's settings to uv, unless ``own`` has them already."""
    environment = dict(own)
    for name, variable, between in SETTINGS:
        if name in pip_settings:
            environment.setdefault(variable, between.join(pip_settings[name].split()))
    if any(Path(bundle).is_file() for bundle in BUNDLES):
        environment.setdefault("UV_SYSTEM_CERTS", "1")
    if "UV_INDEX" in environment:
        # As pip does; every file's hash is known, so no index can slip in another one.
        environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return environment


def main() -> int:
    """Install; a failure ends with what could be done about it."""
    words = ["--quiet", "--compile-bytecode", "--python", sys.executable, "--require-hashes"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("uv")), "pip", "install", *words, "-r", sys.argv[1]],
        env=uv_environment(read_pip_settings(), os.environ),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    sys.stderr.write(CREDENTIALS.sub("://***@", done.stderr))
    if done.returncode:
        sys.stderr.write(f"{ADVICE}\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
