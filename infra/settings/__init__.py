"""Every environment variable with its default and meaning; ``adrelay settings`` lists them.

A field's name in upper case is the variable. Nothing else in Adrelay reads the environment.
In a checkout, ``.services/env`` has values too, which the environment overrides.
"""

from infra.settings.loader import SERVICES_ENV, InvalidSettings, load_settings, require
from infra.settings.settings import GROUPS, Settings, describe_invalid

__all__ = [
    "GROUPS",
    "SERVICES_ENV",
    "InvalidSettings",
    "Settings",
    "describe_invalid",
    "load_settings",
    "require",
]
