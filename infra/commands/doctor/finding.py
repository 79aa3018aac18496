"""What a check finds: its level, the fact, why it matters and what to do."""

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How serious a finding is; the exit status follows the worst."""

    OK = 0
    NOTE = 1  # worth knowing, or not checked
    WARNING = 2  # works now, and will not always
    ERROR = 3  # does not work, or loses what was accepted

    @property
    def word(self) -> str:
        """The level in lower case."""
        return self.name.lower()


# 2 would mean usage, as in every command.
EXIT_STATUS = {Level.OK: 0, Level.NOTE: 0, Level.WARNING: 1, Level.ERROR: 3}


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding of the check ``check``; an ``ok`` needs neither ``why`` nor ``action``.

    ``is_checked`` is false where the check could not be made.
    """

    level: Level
    check: str
    found: str
    why: str = ""
    action: str = ""
    is_checked: bool = True


def ok(check: str, found: str) -> Finding:
    """Report that all is well."""
    return Finding(Level.OK, check, found)


def not_checked(check: str, reason: str) -> Finding:
    """Report that a check could not be made."""
    return Finding(Level.NOTE, check, f"not checked: {reason}", is_checked=False)
