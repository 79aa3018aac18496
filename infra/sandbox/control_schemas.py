"""The request bodies of the control API."""

from typing import Annotated, Literal

from pydantic import Field

from infra.sandbox.campaigns import SandboxMetrics, today
from schemas.campaigns import ReportedStatus
from schemas.types import Count, FrozenModel

FaultSeconds = Annotated[float, Field(ge=0, le=86_400)]


class ScheduleUpdate(FrozenModel):
    """Seconds between rounds; an absent value is unchanged."""

    metrics_seconds: FaultSeconds | None = None
    status_seconds: FaultSeconds | None = None


class MetricsPayload(FrozenModel):
    """Totals of a day; ``spend`` in currency units, ``date`` today (UTC) if absent."""

    date: str = Field(default_factory=today, max_length=40)
    impressions: Count
    clicks: Count
    conversions: Count
    spend: Annotated[float, Field(ge=0, le=999_999_999)]

    def figures(self) -> SandboxMetrics:
        """Convert to the sandbox's metrics."""
        counts = (self.impressions, self.clicks, self.conversions)
        return SandboxMetrics(self.date, *counts, round(self.spend * 1_000_000))


class WebhookOrder(FrozenModel):
    """One webhook, sent ``times`` over under one id.

    ``status`` and ``metrics`` report the platform's state unless values are given (also for
    campaigns that it does not have); a ``status`` with a valid signature is stored as well;
    ``raw`` sends ``body`` unchanged.
    """

    kind: Literal["status", "metrics", "raw"]
    campaign_id: Annotated[str, Field(max_length=200)] = ""
    status: ReportedStatus | None = None
    figures: MetricsPayload | None = None
    body: Annotated[str, Field(max_length=100_000)] = ""
    id: Annotated[str, Field(min_length=1, max_length=180)] | None = None
    times: Annotated[int, Field(ge=1, le=1000)] = 1
    bad_signature: bool = False
