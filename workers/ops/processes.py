"""Reads the probes and metrics of every process, every few seconds, in the background.

``PROCESS_URLS`` names the processes. A name that the name server gives several addresses for is as
many processes; of the ingress each of those that share its port is asked. What does not answer
is in the list too, as not known.
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import orjson
from aiohttp import ClientSession

from events.envelope import now
from infra.backoff import sleep_until
from infra.health import TARGETS_PATH
from infra.http.client import HttpFailure, HttpRequest, HttpResponse, fetch, open_session
from infra.process import PORTS
from infra.settings import Settings
from workers.ops.process_metrics import (
    MetricSamples,
    Readiness,
    parse_metrics,
    parse_readiness,
    sum_samples,
)

INGRESS = "web"
INTERVAL = 5.0  # seconds
TIMEOUT = 3.0  # seconds that a process has for its answer
MAX_METRICS_BYTES = 4 * 1024 * 1024
MAX_READINESS_BYTES = 64 * 1024
MAX_PROCESSES = 200  # that are read: more are left out
AT_A_TIME = 8


@dataclass(frozen=True, slots=True, order=True)
class ProcessAddress:
    """Where a process listens: its name, and host and port of its probes."""

    name: str
    host: str
    port: int

    @property
    def text(self) -> str:
        """Host and port as in an address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """What a process said when it was last asked, at ``at`` (UTC).

    ``trouble`` says why nothing is known; ``samples`` are then empty. ``cpu`` is in cores, and
    ``lag`` is the mean delay of the event loop in seconds; both are means since the report before
    this one.
    """

    name: str
    address: str
    at: datetime = field(default_factory=now)
    trouble: str = ""
    readiness: Readiness | None = None
    samples: MetricSamples = field(default_factory=dict, repr=False)
    cpu: float | None = None
    lag: float | None = None

    @property
    def version(self) -> str | None:
        """The release that runs."""
        info = self.samples.get("adrelay_build_info")
        return info[0].labels.get("version") if info else None

    @property
    def commit(self) -> str | None:
        """The commit that runs."""
        info = self.samples.get("adrelay_build_info")
        return info[0].labels.get("commit") if info else None

    @property
    def started_at(self) -> datetime | None:
        """When the process was started (UTC)."""
        seconds = sum_samples(self.samples, "process_start_time_seconds")
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

    @property
    def memory(self) -> int | None:
        """Resident memory in bytes."""
        size = sum_samples(self.samples, "process_resident_memory_bytes")
        return None if size is None else int(size)

    @property
    def in_hand(self) -> int | None:
        """Messages and requests that are under way."""
        names = ("adrelay_messages_in_hand", "adrelay_http_requests_in_flight")
        found = [sum_samples(self.samples, name) for name in names]
        known = [int(number) for number in found if number is not None]
        return sum(known) if known else None


class ProcessMonitor:
    """Keeps the newest report of every process in ``current``, in the order of PROCESS_URLS."""

    def __init__(self, settings: Settings) -> None:
        """Ask nobody yet."""
        self.current: Sequence[ProcessReport] = ()
        self._urls = read_process_urls(settings)
        self._places = asyncio.Semaphore(AT_A_TIME)

    async def run(self, stop: asyncio.Event) -> None:
        """Read until ``stop`` is set."""
        async with open_session(TIMEOUT) as session:
            while not stop.is_set():
                await self.read(session)
                await sleep_until(stop, INTERVAL)

    async def read(self, session: ClientSession) -> Sequence[ProcessReport]:
        """Ask every process once."""
        found = await asyncio.gather(*(find_addresses(name, url) for name, url in self._urls))
        named = dict.fromkeys(one for group in found for one in group)
        pages = await asyncio.gather(*(self._find_pages(session, one) for one in named))
        addresses = [one for group in pages for one in group][:MAX_PROCESSES]
        before = {report.address: report for report in self.current}
        asking = (self._ask(session, one, before.get(one.text)) for one in addresses)
        self.current = await asyncio.gather(*asking)
        return self.current

    async def _find_pages(
        self, session: ClientSession, address: ProcessAddress
    ) -> Sequence[ProcessAddress]:
        """Ask the ingress where the processes that share its port have their own pages."""
        if address.name != INGRESS:
            return [address]
        try:
            async with self._places:
                url = f"http://{address.text}"
                answer = await _get(session, url, TARGETS_PATH, MAX_READINESS_BYTES)
            (group,) = orjson.loads(answer.body)
            ports = [int(str(target).rpartition(":")[2]) for target in group["targets"]]
        except (HttpFailure, LookupError, TypeError, ValueError):
            return [address]
        several = [ProcessAddress(INGRESS, address.host, port) for port in ports]
        return several if len(several) > 1 else [address]

    async def _ask(
        self, session: ClientSession, address: ProcessAddress, before: ProcessReport | None
    ) -> ProcessReport:
        url = f"http://{address.text}"
        try:
            async with self._places:
                probe = await _get(session, url, "/readyz", MAX_READINESS_BYTES)
                page = await _get(session, url, "/metrics", MAX_METRICS_BYTES)
            readiness = parse_readiness(probe.body)
            text = page.body.decode()
            samples = await asyncio.to_thread(parse_metrics, text)
        except HttpFailure as failure:
            return ProcessReport(address.name, address.text, trouble=failure.reason)
        except ValueError:
            trouble = "what answers is no process of Adrelay"
            return ProcessReport(address.name, address.text, trouble=trouble)
        report = ProcessReport(address.name, address.text, now(), "", readiness, samples)
        return report if before is None else compare_reports(before, report)


def read_process_urls(settings: Settings) -> Sequence[tuple[str, str]]:
    """Give name and URL of each process; without PROCESS_URLS one of each on this host."""
    if settings.process_urls:
        return [(name, url) for name, _, url in (p.partition("=") for p in settings.process_urls)]
    return [(name, f"http://127.0.0.1:{port}") for name, port in PORTS.items()]


async def find_addresses(name: str, url: str) -> Sequence[ProcessAddress]:
    """Ask the name server for every address of a URL's host; the host itself if there is none."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(TIMEOUT):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return [ProcessAddress(name, host, port)]
    return sorted(ProcessAddress(name, str(place[0]), port) for *_, place in found)


def compare_reports(before: ProcessReport, report: ProcessReport) -> ProcessReport:
    """Add the means since the report before; none where the process has started since."""
    if before.started_at != report.started_at or before.started_at is None:
        return report
    seconds = (report.at - before.at).total_seconds()
    used = _growth(before, report, "process_cpu_seconds_total")
    late = _growth(before, report, "adrelay_loop_lag_seconds_sum")
    times = _growth(before, report, "adrelay_loop_lag_seconds_count")
    return replace(
        report,
        cpu=None if used is None or seconds <= 0 else used / seconds,
        lag=None if late is None or not times else late / times,
    )


def _growth(before: ProcessReport, report: ProcessReport, name: str) -> float | None:
    former, newer = sum_samples(before.samples, name), sum_samples(report.samples, name)
    return None if former is None or newer is None else max(0.0, newer - former)


async def _get(session: ClientSession, url: str, path: str, most: int) -> HttpResponse:
    return await fetch(session, url, HttpRequest("GET", path), max_bytes=most)
