"""The rate limits by name: what is counted, how much of it is allowed, what is left."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from limits import RateLimitItem, parse

from infra import metrics
from infra.rate_limit_settings import RateSettings

Unit = Literal["requests", "failures", "bytes"]

# Which of them stay closed when nothing can be counted in common: those that stop guessing.
GUARDS = {"registration", "login", "login-address", "refresh", "password"}
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
METERS = {
    (name, outcome): metrics.RATE_LIMITS.labels(name, outcome)
    for name in UNITS
    for outcome in ("granted", "refused", "unchecked")
}


@dataclass(frozen=True, slots=True)
class Policy:
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
    def guards(self) -> bool:
        """Whether it stands between a stranger and a guess."""
        return self.name in GUARDS


@dataclass(frozen=True, slots=True)
class Standing:
    """What a policy says of a request: granted or not, how much is left, seconds until more is.

    ``shared`` tells whether all processes have counted together.
    """

    policy: Policy
    left: int
    wait: float
    granted: bool
    shared: bool = False


def policies_of(settings: RateSettings) -> dict[str, Policy]:
    """Give the policies by name, without those that are switched off."""
    texts = {name: getattr(settings, setting_of(name)) for name in UNITS}
    return {name: Policy(name, parse(text), UNITS[name]) for name, text in texts.items() if text}


def setting_of(name: str) -> str:
    """Name the setting of a policy."""
    return f"limit_{name.replace('-', '_')}"
