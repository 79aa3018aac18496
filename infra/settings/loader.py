"""Loads the settings of a process from its environment and the files of a checkout."""

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from infra.env_file import read_env_file
from infra.settings.rules import find_misspelt
from infra.settings.settings import Settings, describe_invalid
from infra.settings.source import VariableSource

SERVICES_ENV = Path(__file__).resolve().parents[2] / ".services" / "env"


class InvalidSettings(SystemExit):
    """A setting is invalid: the process ends with one line about it (status 1)."""


def load_settings(process: str = "") -> Settings:
    """Read the environment, over ``.services/env`` where a checkout has it.

    ``process`` is one that has a file of its own there, which then counts too
    (``release``). Raises ``InvalidSettings``, which names each variable that is wrong and its
    rule, and ends the process unless it is caught.
    """
    try:
        own = read_env_file(SERVICES_ENV.with_name(f"{process}.env")) if process else {}
        variables = {**read_env_file(SERVICES_ENV), **own, **os.environ}
    except ValueError as error:
        raise InvalidSettings(str(error)) from None
    if misspelt := find_misspelt(variables, Settings.model_fields):
        raise InvalidSettings(misspelt)
    try:
        return Settings.model_validate(VariableSource(Settings, variables)())
    except ValidationError as error:
        raise InvalidSettings(describe_invalid(error)) from None


def require(check: Callable[[Settings], object], settings: Settings) -> None:
    """Run ``check``, which tells whether a process has its keys.

    Raises ``InvalidSettings`` where it raises ``ValueError``.
    """
    try:
        check(settings)
    except ValueError as error:
        raise InvalidSettings(str(error)) from None
