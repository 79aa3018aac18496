"""Where an event of the load has to end, told by its number."""

from enum import Enum


class Fate(Enum):
    APPLIED = "applied"
    POISON = "poison"  # its handler never accepts it: dead at once
    STUBBORN = "stubborn"  # its handler asks for patience until there is none left: dead
    INVALID = "invalid"  # the ingress refuses it


def fate(number: int) -> Fate:
    """Tell the fate of the event with this number."""
    rest = number % 40
    return {13: Fate.POISON, 29: Fate.STUBBORN, 6: Fate.INVALID}.get(rest, Fate.APPLIED)
