"""Loads the settings, as a process does that starts."""

from infra.settings import load_settings

if __name__ == "__main__":
    load_settings()
