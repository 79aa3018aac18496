"""What follows from costs: the rate that fills the cores, what is full first, what more needs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

# Each of these runs on one core; the web processes are as many as the bench starts.
WEB_PROCESSES = 2
SINGLE = ("auth", "campaigns", "sync", "metrics", "relay", "redis", "generator")
BESIDE = ("generator", "sandbox", "kernel and others")  # needs no room where Adrelay runs
BUSY = 0.7  # of a core, that a process should use at most where nobody may wait

Costs = Mapping[str, float]  # CPU microseconds for a unit, by component


@dataclass(frozen=True, slots=True)
class Prediction:
    """Units a second, and what is full then: ``cores`` or a process on its one core."""

    rate: float
    full: str


def mix_costs(costs: Mapping[str, Costs], shares: Mapping[str, float]) -> dict[str, float]:
    """Add up the costs of a mean unit of a mix; ``shares`` are by route."""
    names = next(iter(costs.values()))
    return {
        name: sum(share * costs[route][name] for route, share in shares.items()) for name in names
    }


def predict(costs: Costs, cores: float) -> Prediction:
    """Compute the rate at which ``cores`` are full, or a process that has one of them.

    ``cores`` are those that are left beside what runs without any load.
    """
    limits = {"cores": cores * 1e6 / sum(costs.values())}
    limits |= {name: 1e6 / costs[name] for name in SINGLE if costs[name] > 0}
    if costs["web"] > 0:
        limits["web"] = min(WEB_PROCESSES, cores) * 1e6 / costs["web"]
    full = min(limits, key=limits.__getitem__)
    return Prediction(limits[full], full)


def count_cores(costs: Costs, rate: float) -> float:
    """Compute the cores that Adrelay and its servers need for a rate, without what is beside."""
    return sum(cost for name, cost in costs.items() if name not in BESIDE) * rate / 1e6


def count_processes(costs: Costs, rate: float) -> dict[str, int]:
    """Compute how many of each of Adrelay's processes a rate needs, none busier than ``BUSY``."""
    own = ("web", "auth", "campaigns", "sync", "metrics", "relay")
    needed = {name: math.ceil(costs[name] * rate / 1e6 / BUSY) for name in own}
    return {name: max(1, number) for name, number in needed.items()}
