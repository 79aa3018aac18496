"""Files of environment variables, as a POSIX shell reads them with ``set -a; . file``.

One ``NAME=word`` a line, the word quoted as ``shlex.quote`` does it; comments and empty lines are
passed over. Nothing is expanded. A word may hold anything but NUL, line ends too.
"""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_env_file(path: Path, names: re.Pattern[str] = NAME) -> dict[str, str]:
    """Read a file whose names match ``names``; a missing one is empty.

    Raises ``ValueError`` naming the file if it is malformed.
    """
    return parse_env(path.read_bytes().decode(), path.name, names) if path.is_file() else {}


def parse_env(text: str, file: str = "env", names: re.Pattern[str] = NAME) -> dict[str, str]:
    """Read the text of a file; raises ``ValueError``, without quoting it."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\n", True, "#"
    try:
        words = list(lexer)
    except ValueError:
        raise ValueError(f"{file}: has a quote without its end") from None
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name == "export" and not equals:
            continue
        if not equals or not names.fullmatch(name):
            raise ValueError(f"{file}: has a line that is not NAME=value")
        found[name] = value
    return found


def write_env(values: Mapping[str, str]) -> str:
    """Write variables so that a shell and ``parse_env`` read the same; NUL is ``ValueError``."""
    wrong = [name for name, text in values.items() if "\0" in text or not NAME.fullmatch(name)]
    if wrong:
        raise ValueError(f"{wrong[0]}: cannot be a variable of the environment")
    return "".join(f"{name}={shlex.quote(text)}\n" for name, text in values.items())


def write_env_file(path: Path, values: Mapping[str, str]) -> None:
    """Replace a file in one step; only its owner may read it. NUL is ``ValueError``."""
    write_private_file(path, write_env(values))


def write_private_file(path: Path, text: str) -> None:
    """Replace a file in one step; only its owner may read it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)
