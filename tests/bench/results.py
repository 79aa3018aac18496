"""Numbers, each with its name: medians and extremes over the rounds, a table, ratios, a file."""

import json
import os
import platform
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from infra.deploy.services.directories import CHECKOUT

FILE = CHECKOUT / "bench.json"
PACKAGES = ("aio-pika", "aiohttp", "aiormq", "asyncpg", "pydantic", "sqlalchemy", "uvloop")
PEERS = ("celery", "dramatiq", "faststream", "psycopg", "taskiq", "taskiq-aio-pika")


@dataclass(frozen=True, slots=True)
class Result:
    """One measured value: ``section`` names the comparison, ``name`` who was measured."""

    section: str
    name: str
    unit: str
    value: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A result over all rounds."""

    section: str
    name: str
    unit: str
    median: float
    least: float
    most: float
    rounds: int


def summarise(results: Iterable[Result]) -> list[Summary]:
    """Bring the rounds together, in the order in which the lines were measured."""
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for result in results:
        values[result.section, result.name, result.unit].append(result.value)
    return [
        Summary(*key, median(found), min(found), max(found), len(found))
        for key, found in values.items()
    ]


def table(summaries: Sequence[Summary]) -> str:
    """Write a table, one block for each section."""
    lines: list[str] = []
    for section in dict.fromkeys(summary.section for summary in summaries):
        lines += ["", f"{section:<48}{'median':>12}{'min':>12}{'max':>12}"]
        lines += [
            f"  {s.name:<34}{s.unit:<12}{_shown(s.median)}{_shown(s.least)}{_shown(s.most)}"
            for s in summaries
            if s.section == section
        ]
    return "\n".join(lines)


def _shown(value: float) -> str:
    return f"{value:>12,.0f}" if value >= 100 else f"{value:>12,.2f}"


def ratios(summaries: Sequence[Summary], ours: str = "adrelay") -> list[str]:
    """Write one line for each peer: our median by the peer's, whatever the section measures."""
    found = {(s.section, s.name): s.median for s in summaries}
    return [
        f"RATIO {section} {ours}/{name} {found[section, ours] / value:.2f}"
        for (section, name), value in found.items()
        if section in ("consume", "ingress", "batch", "latency_p50")
        and not name.startswith(ours)
        and (section, ours) in found
    ]


def machine() -> dict[str, Any]:
    """Tell where and with what this was measured."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
    }


def versions(servers: Mapping[str, str], node: Path) -> dict[str, str]:
    """List the versions of everything that took part."""
    found = {name: version(name) for name in (*PACKAGES, *PEERS)}
    for name in ("amqplib", "express", "pg", "zod"):
        manifest = node / "node_modules" / name / "package.json"
        if manifest.is_file():
            found[name] = json.loads(manifest.read_text())["version"]
    words = ["node", "--version"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10)
    found["node"] = shown.stdout.strip().removeprefix("v")
    return {**found, **servers}


def write(facts: Mapping[str, Any], summaries: Sequence[Summary], said: Sequence[str]) -> None:
    """Keep the numbers as ``bench.json``."""
    rows = [
        {
            "section": s.section,
            "name": s.name,
            "unit": s.unit,
            "median": round(s.median, 3),
            "min": round(s.least, 3),
            "max": round(s.most, 3),
            "rounds": s.rounds,
        }
        for s in summaries
    ]
    FILE.write_text(json.dumps({**facts, "results": rows, "ratios": list(said)}, indent=1) + "\n")
