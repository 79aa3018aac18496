"""A source of pydantic-settings: variables of the process, or of a file written for ``sh``."""

from collections.abc import Mapping

from pydantic_settings import BaseSettings, EnvSettingsSource


class VariableSource(EnvSettingsSource):
    """Reads fields from variables, whose names are those of the fields in upper case, exactly."""

    def __init__(self, settings_class: type[BaseSettings], variables: Mapping[str, str]) -> None:
        """Keep the variables; nothing else is read."""
        self._variables = variables
        super().__init__(settings_class)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._variables.items() if name.isupper()}
