"""The tables of ``capacity``, as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tests.bench.capacity_model import (
    BESIDE,
    Prediction,
    count_cores,
    count_processes,
    mix_costs,
)
from tests.bench.capacity_requests import MIXES
from tests.bench.usage import Usage

if TYPE_CHECKING:
    from tests.bench.capacity import Cost

RATES = (10_000, 100_000)


def write(
    costs: "Mapping[str, Cost]",
    kept: Mapping[str, float],
    idle: Usage,
    memory: Mapping[str, float],
    checks: Mapping[str, tuple[Prediction, float]],
) -> str:
    """Write all tables.

    ``kept`` has the bytes of a row with its indexes, ``checks`` the prediction and the sustained
    part of it, by mix.
    """
    return "\n".join(
        [
            *_costs(costs),
            *_bytes(costs),
            *_table(
                "Bytes that stay in Postgres for an event",
                ["table", "bytes for a row, indexes included"],
                [[name, f"{size:,.0f}"] for name, size in kept.items()],
            ),
            *_idle(idle, memory),
            *_checks(checks),
            *_computed(costs),
        ]
    )


def _costs(costs: "Mapping[str, Cost]") -> list[str]:
    names = list(next(iter(costs.values())).cpu)
    rows = [
        [route, *(f"{cost.cpu[name]:,.0f}" for name in names), f"{sum(cost.cpu.values()):,.0f}"]
        for route, cost in costs.items()
    ]
    return _table("CPU microseconds for a unit", ["unit", *names, "sum"], rows)


def _bytes(costs: "Mapping[str, Cost]") -> list[str]:
    rows = [
        [route, f"{cost.broker_bytes:,.0f}", f"{cost.wal_bytes:,.0f}", f"{cost.rate:,.0f}"]
        for route, cost in costs.items()
    ]
    heads = ["unit", "written by RabbitMQ", "WAL of Postgres", "measured at units/s"]
    return _table("Bytes to disk for a unit", heads, rows)


def _idle(idle: Usage, memory: Mapping[str, float]) -> list[str]:
    rows = [
        [name, f"{memory[name]:,.0f}", f"{used / idle.seconds * 1000:.1f}"]
        for name, used in idle.cpu.items()
        if name != "bench"
    ]
    heads = ["process", "MiB after the load", "CPU ms/s without load"]
    return _table("Memory, and what runs without load", heads, rows)


def _checks(checks: Mapping[str, tuple[Prediction, float]]) -> list[str]:
    rows = [
        [
            mix,
            f"{found.rate:,.0f}",
            found.full,
            f"{step * found.rate:,.0f}",
            f"{step - 1:+.0%}",
        ]
        for mix, (found, step) in checks.items()
    ]
    heads = ["mix", "predicted units/s", "full then", "sustained units/s", "difference"]
    return _table("Prediction and measurement, with the generator on the same cores", heads, rows)


def _computed(costs: "Mapping[str, Cost]") -> list[str]:
    by_route = {route: cost.cpu for route, cost in costs.items()}
    rows = []
    for mix, shares in MIXES.items():
        cpu = mix_costs(by_route, shares)
        written = sum(share * costs[route].broker_bytes for route, share in shares.items())
        wal = sum(share * costs[route].wal_bytes for route, share in shares.items())
        for rate in RATES:
            processes = count_processes(cpu, rate)
            rows.append(
                [
                    mix,
                    f"{rate:,}",
                    f"{count_cores(cpu, rate):.1f}",
                    ", ".join(f"{name} {number}" for name, number in processes.items()),
                    f"{cpu['rabbitmq'] * rate / 1e6:.1f}",
                    f"{cpu['postgres'] * rate / 1e6:.1f}",
                    f"{written * rate / 2**20:,.0f}",
                    f"{wal * rate / 2**20:,.0f}",
                ]
            )
    heads = ["mix", "units/s", "cores", "processes", "of them RabbitMQ", "Postgres"]
    heads += ["RabbitMQ MiB/s", "WAL MiB/s"]
    title = f"Computed, not measured; without {', '.join(BESIDE)}"
    return _table(title, heads, rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"\n**{title}**\n", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]
