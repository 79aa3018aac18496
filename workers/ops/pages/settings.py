"""Settings: what Adrelay is set to, and where each value comes from. Never a secret."""

import os
from collections.abc import Sequence

from infra.settings.listing import DEFAULT, ENVIRONMENT, FILE, SettingGroup, list_settings
from workers.ops.page import Page
from workers.ops.request import ConsoleRequest

CHANGED = "changed"  # what the parameter ``show`` says for settings that are not at their default
PLACES = {ENVIRONMENT: "in the environment", FILE: "in a file of the checkout"}


async def show(request: ConsoleRequest) -> Page:
    """Show the settings of the console's own process; with ``show=changed`` those that are set."""
    groups = list_settings(request.state.resources.settings, os.environ)
    only_changed = request.query.get("show") == CHANGED
    context = {
        "lede": build_lede(groups),
        "groups": keep_changed(groups) if only_changed else groups,
        "only_changed": only_changed,
    }
    return Page("Settings", "settings.html", context)


def build_lede(groups: Sequence[SettingGroup]) -> str:
    """Answer the page's question in one sentence."""
    settings = [setting for group in groups for setting in group.settings]
    counted = {
        words: sum(setting.source == source for setting in settings)
        for source, words in PLACES.items()
    }
    secrets = [setting for setting in settings if setting.is_secret]
    at_default = sum(setting.source == DEFAULT for setting in settings)
    parts = [f"{number} are set {words}" for words, number in counted.items() if number]
    parts.append(f"{at_default} have their default")
    known = sum(setting.is_set for setting in secrets)
    return (
        f"The console's process has {len(settings)} settings: {', '.join(parts)}. Of {len(secrets)}"
        f" secrets {known} are set here; no page shows one."
    )


def keep_changed(groups: Sequence[SettingGroup]) -> list[SettingGroup]:
    """Keep the settings that are not at their default, and the groups that have some."""
    found = [
        SettingGroup(
            group.title,
            group.meaning,
            tuple(setting for setting in group.settings if setting.source != DEFAULT),
        )
        for group in groups
    ]
    return [group for group in found if group.settings]
