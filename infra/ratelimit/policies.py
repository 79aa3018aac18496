"""Rate-limit policies by name: what each counts, how much it allows, and what is left."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from limits import RateLimitItem, parse

from infra import metrics
from infra.settings.rate_limits import RateLimitSettings

Unit = Literal["requests", "failures", "bytes"]

# Policies against guessing: while Redis is down they are counted locally, the others pass.
FAIL_CLOSED = {"registration", "login", "login-address", "refresh", "password"}
UNITS: Mapping[str, Unit] = {
    "api": "requests",
    "registration": "requests",
    "login": "failures",
    "login-address": "failures",
    "refresh": "failures",
    "password": "failures",
    "webhook-requests": "requests",
    "webhook-bytes": "bytes",
    "event-requests": "requests",
    "event-bytes": "bytes",
}
# unchecked: passed because Redis was down.
COUNTERS = {
    (name, outcome): metrics.RATE_LIMITS.labels(name, outcome)
    for name in UNITS
    for outcome in ("granted", "refused", "unchecked")
}


@dataclass(frozen=True, slots=True)
class RateLimitPolicy:
    """``amount`` units per window of ``seconds``, for each key."""

    name: str
    item: RateLimitItem
    unit: Unit

    @property
    def amount(self) -> int:
        """Units allowed per window."""
        return int(self.item.amount)

    @property
    def seconds(self) -> int:
        """Length of a window."""
        return self.item.get_expiry()

    @property
    def fails_closed(self) -> bool:
        """Whether to count locally while Redis is down."""
        return self.name in FAIL_CLOSED


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """Result of a check: granted or not, units left, seconds until more is left.

    ``shared``: counted in Redis, for all processes together.
    """

    policy: RateLimitPolicy
    left: int
    wait: float
    granted: bool
    shared: bool = False


def load_policies(settings: RateLimitSettings) -> dict[str, RateLimitPolicy]:
    """Parse the policies of the settings; those with an empty rate are left out."""
    rates = {name: getattr(settings, setting_name(name)) for name in UNITS}
    return {
        name: RateLimitPolicy(name, parse(rate), UNITS[name])
        for name, rate in rates.items()
        if rate
    }


def setting_name(policy: str) -> str:
    """Return the name of a policy's setting."""
    return f"limit_{policy.replace('-', '_')}"
