"""The levels of loggers: ``LOG_LEVELS="infra.messaging=debug,aiormq=warning"``.

A logger without a level has that of the nearest name above it, at last ``LOG_LEVEL``. Some
libraries write bodies, rows or headers at DEBUG, so theirs is INFO or more, whatever is asked for.
"""

import logging
from collections.abc import Collection, Mapping
from importlib.util import find_spec

from infra.version import PACKAGES, ROOT

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# The AMQP libraries write frames and bodies, SQLAlchemy rows, the others headers and addresses.
PINNED = (
    "aiormq",
    "aio_pika",
    "sqlalchemy",
    "asyncpg",
    "redis",
    "aiohttp",
    "urllib3",
    "opentelemetry",
)
LOWEST = logging.INFO
# What says nothing of interest at INFO, unless it is asked for.
QUIET = ("aiormq", "aio_pika", "aiohttp.access", "alembic", "sqlalchemy")


def parse_log_levels(text: str) -> dict[str, int]:
    """Parse ``logger=level`` pairs, separated by commas; raises ``ValueError`` with the rule."""
    levels: dict[str, int] = {}
    for number, pair in enumerate(text.split(","), start=1):
        if not pair.strip():
            continue
        try:
            name, level = _parse_pair(pair, levels)
        except ValueError as error:
            raise ValueError(f"pair {number} {error}") from None
        levels[name] = level
    return levels


def apply_log_levels(level: int, levels: Mapping[str, int]) -> None:
    """Set the level of every logger that has one of its own; ``level`` is that of the root."""
    for name in QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in PINNED:
        if name not in QUIET:
            logging.getLogger(name).setLevel(max(level, LOWEST))
    for name, own in levels.items():
        logging.getLogger(name).setLevel(max(own, LOWEST) if _is_pinned(name) else own)


def _parse_pair(pair: str, others: Collection[str]) -> tuple[str, int]:
    name, separator, level = (part.strip() for part in pair.partition("="))
    if not separator or level.lower() not in LEVELS:
        raise ValueError(f"must be logger=level, with one of the levels {', '.join(LEVELS)}")
    if name in others:
        raise ValueError("names a logger twice")
    _check_name(name)
    found = LEVELS[level.lower()]
    if found < LOWEST and _is_pinned(name):
        raise ValueError(f"must not set {_root(name)} below info: at debug it writes secrets")
    return name, found


def _check_name(name: str) -> None:
    """Raise ``ValueError`` for a logger of a package that does not exist."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        raise ValueError("names a logger that is no name of a module")
    root = _root(name)
    file = ROOT.joinpath(*parts)
    if root in PACKAGES:
        exists = file.is_dir() or file.with_suffix(".py").is_file()
    else:
        exists = find_spec(root) is not None
    if not exists:
        raise ValueError("names a logger of a module that does not exist")


def _root(name: str) -> str:
    return name.partition(".")[0]


def _is_pinned(name: str) -> bool:
    return _root(name) in PINNED
