"""A campaign as a sandbox platform holds it, in nobody's words, and how its figures grow."""

import random
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Self

from schemas.campaigns import ReportedStatus

SEEDED = "Seeded "
CLICK_RATE = 0.04
CONVERSION_RATE = 0.1
# Micros of currency that a click costs, from and to.
CLICK_PRICE = (200_000, 900_000)


@dataclass(frozen=True, slots=True)
class Wished:
    """What a client wants of a campaign; ``reference`` and ``version`` are the client's own."""

    name: str
    budget_micros: int
    currency: str
    interests: tuple[str, ...]
    ages: tuple[int, int]
    status: ReportedStatus
    reference: str
    version: str


@dataclass(slots=True)
class Figures:
    """Totals of one day (UTC) so far."""

    date: str
    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    spend_micros: int = 0


def today() -> str:
    """Tell the day in UTC, in ISO 8601."""
    return datetime.now(UTC).date().isoformat()


@dataclass(slots=True)
class Campaign:
    """A campaign that exists; ``pushes`` counts the creates and updates that took effect."""

    id: str
    wished: Wished
    status: ReportedStatus
    pushes: int = 0
    figures: Figures = field(default_factory=lambda: Figures(today()))

    @property
    def is_seeded(self) -> bool:
        """Tell whether it may change its status of itself."""
        return self.wished.name.startswith(SEEDED)

    def put(self, wished: Wished) -> None:
        """Take a new wish, its status included."""
        self.wished = wished
        self.status = wished.status
        self.pushes += 1

    def grow(self, chance: random.Random) -> None:
        """Add some seconds of life to the day's figures; a new day begins at zero.

        Clicks never outnumber impressions, nor conversions clicks, and what is spent in a
        day stays within the budget.
        """
        if self.figures.date != today():
            self.figures = Figures(today())
        figures = self.figures
        seen = chance.randint(20, 200)
        clicks = sum(chance.random() < CLICK_RATE for _ in range(seen))
        cost = sum(chance.randint(*CLICK_PRICE) for _ in range(clicks))
        figures.impressions += seen
        figures.clicks += clicks
        figures.conversions += sum(chance.random() < CONVERSION_RATE for _ in range(clicks))
        figures.spend_micros = min(figures.spend_micros + cost, self.wished.budget_micros)

    def dump(self) -> dict[str, Any]:
        """Write it as JSON values, for the control API and the state file."""
        return asdict(self)

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> Self:
        """Read what ``dump`` wrote; raises ``TypeError`` or ``KeyError`` for anything else."""
        known = {f.name: dumped[f.name] for f in fields(cls)}
        wished = dict(known.pop("wished"))
        wished["interests"], wished["ages"] = tuple(wished["interests"]), tuple(wished["ages"])
        figures = Figures(**known.pop("figures"))
        return cls(wished=Wished(**wished), figures=figures, **known)
