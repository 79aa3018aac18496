"""What pairs of measurements say: the ratio new/old, how far it can be trusted, and a verdict.

Old and new are measured one right after the other, so that what disturbs the machine
disturbs both; each pair gives a ratio. The spread is the interval in which the median ratio
lies with at least 95% certainty, taken from the ordered ratios themselves (the sign test's
interval: no assumption about how they are distributed; with 9 pairs the second to the eighth).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

CERTAINTY = 0.95
ALLOWED = 0.03
FEWEST = 6  # pairs that an interval of 95% needs


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of one section in all pairs."""

    section: str
    unit: str
    old: tuple[float, ...]
    new: tuple[float, ...]

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.unit.endswith("/s")

    @property
    def ratios(self) -> list[float]:
        """The ratio new/old of each pair, ordered."""
        return sorted(new / old for old, new in zip(self.old, self.new, strict=True))

    @property
    def ratio(self) -> float:
        """The median ratio new/old."""
        return median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and most that the median ratio may be."""
        return interval(self.ratios)

    @property
    def is_worse(self) -> bool:
        """Whether even the best end of the spread is more than 3% worse."""
        least, most = self.spread
        return most < 1 - ALLOWED if self.is_rate else least > 1 + ALLOWED

    @property
    def verdict(self) -> str:
        """Say it in words."""
        least, most = self.spread
        if self.is_worse:
            return "worse than 3% beyond its own spread"
        worst = least < 1 - ALLOWED if self.is_rate else most > 1 + ALLOWED
        return "no worse (its spread reaches beyond 3%: more PAIRS tell)" if worst else "no worse"


def interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Give the ends of the sign test's interval of the median; raises on fewer than 6 values."""
    count = len(ordered)
    if count < FEWEST:
        raise ValueError(f"{count} pairs: a spread of 95% needs {FEWEST}")
    tail, cut = 0.0, 0
    while (tail := tail + comb(count, cut) / 2**count) * 2 <= 1 - CERTAINTY:
        cut += 1
    return ordered[cut - 1], ordered[-cut]


def table(comparisons: Sequence[Comparison]) -> str:
    """Write one line for each figure."""
    lines = [
        f"{'section':<16}{'':<16}{'old':>9}{'new':>9}{'new/old':>9}   {'95% spread':<16}verdict"
    ]
    for found in comparisons:
        least, most = found.spread
        lines.append(
            f"{found.section:<16}{found.unit:<16}{_shown(found.old)}{_shown(found.new)}"
            f"{found.ratio:>9.3f}   {f'{least:.3f} .. {most:.3f}':<16}{found.verdict}"
        )
    return "\n".join(lines)


def _shown(values: Sequence[float]) -> str:
    value = median(values)
    return f"{value:>9,.0f}" if value >= 1000 else f"{value:>9,.1f}"
