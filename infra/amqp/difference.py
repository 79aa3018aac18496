"""How a broker differs from the topology: one difference, in words, and what puts it right."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

DifferenceKind = Literal["missing", "changed", "extra", "note"]


@dataclass(frozen=True, slots=True)
class Change:
    """A request to the management API that adds or corrects one part and removes nothing."""

    method: str
    path: tuple[str, ...]
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """A part that differs; ``change`` puts it right, or ``way_out`` says what a person has to do.

    ``missing`` is what the broker lacks, ``changed`` what it has otherwise, ``extra`` what it has
    beside; a ``note`` is worth knowing and no fault.
    """

    kind: DifferenceKind
    part: str
    words: str
    way_out: str = ""
    change: Change | None = None

    @property
    def is_safe(self) -> bool:
        """Whether ``adrelay topology apply`` puts it right."""
        return self.change is not None


def describe_values(
    found: Mapping[str, object], wanted: Mapping[str, object], defaults: Mapping[str, object]
) -> str:
    """Name every value that differs: ``x-queue-type classic instead of quorum``.

    ``defaults`` are the values of what is not named; another one that is absent is ``none``.
    """
    differing = []
    for name in sorted({*found, *wanted}):
        ours, theirs = (values.get(name, defaults.get(name, "none")) for values in (wanted, found))
        if ours != theirs:
            differing.append(f"{name} {_to_word(theirs)} instead of {_to_word(ours)}")
    return ", ".join(differing)


def _to_word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
