"""A whole system that a live Prometheus scrapes every second, with alerts that fire sooner.

The expressions are those of the rules' files: only durations are shortened, those in brackets, of
``for`` and of ``interval``.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp
import yaml

from infra.deploy.services import apt, prometheus
from infra.settings import Settings
from tests.chaos.servers import Servers
from tests.e2e.system import System, running_system
from tests.infra.ledger import until

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
DURATION = re.compile(r"(\d+)([smhdw])")
SHORTER = 30  # a minute becomes two seconds
SHORTEST = 10  # seconds: a rate needs several scrapes
SCRAPE = "2s"  # and no scrape may take longer


def shorten(duration: re.Match[str], least: int = SHORTEST) -> str:
    """Divide a duration by ``SHORTER``; it has at least ``least`` seconds."""
    seconds = int(duration[1]) * SECONDS[duration[2]]
    return f"{max(least, seconds // SHORTER)}s"


def shorten_rules(text: str) -> str:
    """Shorten the windows, ``for`` and ``interval`` of a file of rules."""
    loaded = yaml.safe_load(text)
    for group in loaded["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule["expr"] = re.sub(
                r"\[[^\]]+\]", lambda found: DURATION.sub(shorten, found[0]), rule["expr"]
            )
            if "for" in rule:
                rule["for"] = DURATION.sub(lambda found: shorten(found, 1), rule["for"])
    return yaml.safe_dump(loaded)


def name_of(labels: Mapping[str, str]) -> str:
    """Name an alert; those on SLOs have a window each."""
    return f"{labels['alertname']} {labels.get('window', '')}".strip()


@dataclass
class Monitored:
    """The system, its Prometheus, and when each alert fired and stopped, in seconds."""

    system: System
    settings: Settings
    servers: Servers
    url: str
    started: float = field(default_factory=time.monotonic)
    fired: dict[str, float] = field(default_factory=dict)
    stopped: dict[str, float] = field(default_factory=dict)
    now: set[str] = field(default_factory=set)

    async def ask(self, path: str, **parameters: str) -> Any:
        async with self.system.http.get(f"{self.url}/api/v1/{path}", params=parameters) as answer:
            body = await answer.json()
            assert body["status"] == "success", body
            return body["data"]

    async def query(self, promql: str) -> list[Any]:
        found: list[Any] = (await self.ask("query", query=promql))["result"]
        return found

    async def is_watched(self) -> bool:
        """Tell whether every process was scraped twice, so that what follows is an increase."""
        async with self.system.http.get(f"{self.url}/-/ready") as answer:
            if answer.status != HTTPStatus.OK:
                return False
        scraped = await self.query("count(count_over_time(up[1m]) >= 2)")
        return bool(scraped) and float(scraped[0]["value"][1]) == len(self.system.processes) + 1

    async def look(self) -> None:
        """Note which alerts fire now."""
        alerts = (await self.ask("alerts"))["alerts"]
        now = {name_of(one["labels"]) for one in alerts if one["state"] == "firing"}
        at = time.monotonic() - self.started
        for name in now - self.now:
            self.fired.setdefault(name, at)
        for name in self.now - now:
            self.stopped[name] = at
        self.now = now

    async def wait(
        self, names: Collection[str], reached: Callable[[str], bool], seconds: float = 300
    ) -> None:
        """Look once a second until ``reached`` holds for each of the alerts."""
        end = time.monotonic() + seconds
        while left := {name for name in names if not reached(name)}:
            assert time.monotonic() < end, await self.explain(left)
            await asyncio.sleep(0.5)
            await self.look()

    async def explain(self, left: Collection[str]) -> str:
        """Say what each alert's recording rules and Prometheus' targets show now."""
        names = ("slo:adrelay_effect_errors:ratio_rate1h", "slo:adrelay_effect_errors:increase1h")
        found = {name: await self.query(name) for name in (*names, "adrelay_paused > 0", "up")}
        return f"{left} are awaited; firing: {self.now}; {found}"

    async def wait_fired(self, *names: str) -> None:
        await self.wait(names, self.fired.__contains__)

    async def wait_silent(self, *names: str) -> None:
        await self.wait(names, lambda name: name not in self.now, 420)

    def table(self, names: Collection[str]) -> str:
        lines = [
            f"  {name:32} fired after {self.fired[name]:6.1f} s,"
            f" stopped after {self.stopped[name]:6.1f} s"
            for name in sorted(names, key=self.fired.__getitem__)
        ]
        return "\n".join(lines)


def targets(system: System, servers: Servers) -> Mapping[str, int]:
    ports = {name: process.port for name, process in system.processes.items()}
    ports.pop("sandbox")
    return {**ports, prometheus.BROKER: servers.services.ports.broker_metrics}


@asynccontextmanager
async def open_monitored(settings: Settings, servers: Servers) -> AsyncIterator[Monitored]:
    """Run the system and Prometheus for the length of a block."""
    if not prometheus.is_installed():
        apt.install(prometheus.PACKAGES, print)
    directory, ports = servers.services.directory, servers.services.ports
    rules = {name: shorten_rules(text) for name, text in prometheus.read_rules().items()}
    async with running_system(settings) as system:
        daemon = prometheus.start(directory, ports, targets(system, servers), rules, SCRAPE)
        try:
            await asyncio.to_thread(prometheus.wait, daemon, ports)
            timeout = aiohttp.ClientTimeout(total=20)
            async with aiohttp.ClientSession(timeout=timeout) as system.http:
                monitored = Monitored(system, settings, servers, prometheus.url(ports))
                await until(monitored.is_watched, 120)
                yield monitored
        finally:
            prometheus.stop(directory)
