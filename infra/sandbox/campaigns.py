"""A campaign of a sandbox platform, in a neutral format, and the growth of its metrics."""

import random
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Self

from schemas.campaigns import ReportedStatus

SEEDED_PREFIX = "Seeded "
CLICK_RATE = 0.04
CONVERSION_RATE = 0.1
# Micros of currency that a click costs, minimum and maximum.
CLICK_PRICE = (200_000, 900_000)


@dataclass(frozen=True, slots=True)
class DesiredCampaign:
    """The desired state of a campaign; ``reference`` and ``version`` are the client's."""

    name: str
    budget_micros: int
    currency: str
    interests: tuple[str, ...]
    ages: tuple[int, int]
    status: ReportedStatus
    reference: str
    version: str


@dataclass(slots=True)
class SandboxMetrics:
    """Totals of one day (UTC)."""

    date: str
    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    spend_micros: int = 0


def today() -> str:
    """Return the day in UTC, in ISO 8601."""
    return datetime.now(UTC).date().isoformat()


@dataclass(slots=True)
class SandboxCampaign:
    """A campaign; ``pushes`` counts the creates and updates that took effect."""

    id: str
    desired: DesiredCampaign
    status: ReportedStatus
    pushes: int = 0
    figures: SandboxMetrics = field(default_factory=lambda: SandboxMetrics(today()))

    @property
    def is_seeded(self) -> bool:
        """Whether the simulation changes its status."""
        return self.desired.name.startswith(SEEDED_PREFIX)

    def put(self, desired: DesiredCampaign) -> None:
        """Replace the desired state, the status included."""
        self.desired = desired
        self.status = desired.status
        self.pushes += 1

    def grow(self, chance: random.Random) -> None:
        """Add a few seconds of traffic to the day's metrics; a new day starts at zero.

        Clicks never outnumber impressions, nor conversions clicks, and what is spent in a
        day stays within the budget.
        """
        if self.figures.date != today():
            self.figures = SandboxMetrics(today())
        figures = self.figures
        seen = chance.randint(20, 200)
        clicks = sum(chance.random() < CLICK_RATE for _ in range(seen))
        cost = sum(chance.randint(*CLICK_PRICE) for _ in range(clicks))
        figures.impressions += seen
        figures.clicks += clicks
        figures.conversions += sum(chance.random() < CONVERSION_RATE for _ in range(clicks))
        figures.spend_micros = min(figures.spend_micros + cost, self.desired.budget_micros)

    def dump(self) -> dict[str, Any]:
        """Return JSON values for the control API and the state file."""
        return asdict(self)

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> Self:
        """Read what ``dump`` wrote; raises ``TypeError`` or ``KeyError`` for anything else."""
        known = {f.name: dumped[f.name] for f in fields(cls)}
        desired = dict(known.pop("desired"))
        desired["interests"], desired["ages"] = tuple(desired["interests"]), tuple(desired["ages"])
        figures = SandboxMetrics(**known.pop("figures"))
        return cls(desired=DesiredCampaign(**desired), figures=figures, **known)
