"""The rate limits by name: what is counted, how much of it is allowed, what is left."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from limits import RateLimitItem, parse

from infra import metrics
from infra.settings.rate_limits import RateLimitSettings

Unit = Literal["requests", "failures", "bytes"]

# Which of them stay closed when nothing can be counted in common: those that stop guessing.
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
# unchecked: let pass, since Redis was gone.
COUNTERS = {
    (name, outcome): metrics.RATE_LIMITS.labels(name, outcome)
    for name in UNITS
    for outcome in ("granted", "refused", "unchecked")
}


@dataclass(frozen=True, slots=True)
class RateLimitPolicy:
    """``amount`` units in ``seconds``, for each key."""

    name: str
    item: RateLimitItem
    unit: Unit

    @property
    def amount(self) -> int:
        """How much is allowed in a window."""
        return int(self.item.amount)

    @property
    def seconds(self) -> int:
        """How long a window is."""
        return self.item.get_expiry()

    @property
    def fails_closed(self) -> bool:
        """Whether it stands between a stranger and a guess."""
        return self.name in FAIL_CLOSED


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """What a policy says of a request: granted or not, how much is left, seconds until more is.

    ``shared`` tells whether all processes have counted together.
    """

    policy: RateLimitPolicy
    left: int
    wait: float
    granted: bool
    shared: bool = False


def load_policies(settings: RateLimitSettings) -> dict[str, RateLimitPolicy]:
    """Give the policies by name, without those that are switched off."""
    texts = {name: getattr(settings, setting_name(name)) for name in UNITS}
    return {
        name: RateLimitPolicy(name, parse(text), UNITS[name])
        for name, text in texts.items()
        if text
    }


def setting_name(name: str) -> str:
    """Name the setting of a policy."""
    return f"limit_{name.replace('-', '_')}"
