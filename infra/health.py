"""Health probes and metrics of a process: ``/healthz``, ``/readyz`` and ``/metrics``."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import orjson
from aiohttp import web
from prometheus_client import REGISTRY, disable_created_metrics

from infra.exposition import choose_format


@dataclass(frozen=True, slots=True)
class PassedCheck:
    """A check that has passed, with something to know about it."""

    note: str


CheckResult = bool | str | PassedCheck  # a text is a failure with its reason
# Of the ingress, which may be several processes: the addresses of all pages of metrics.
TARGETS_PATH = "/metrics-targets"
# Results of the checks by name.
Checks = Callable[[], Awaitable[Mapping[str, CheckResult]]]


async def healthz(_: web.Request) -> web.Response:
    """Respond 200: the process runs and its event loop is not blocked."""
    return web.Response(text="ok\n")


def readyz(checks: Checks) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Build the readiness probe: 200 if every check passes, else 503; the body lists the checks."""

    async def probe(_: web.Request) -> web.Response:
        results = await checks()
        passed = {
            name: value is True or isinstance(value, PassedCheck) for name, value in results.items()
        }
        reasons = {name: value for name, value in results.items() if isinstance(value, str)}
        ready = all(passed.values())
        notes = {name: v.note for name, v in results.items() if isinstance(v, PassedCheck)}
        report = {"ready": ready, "checks": passed}
        report |= {"reasons": reasons} if reasons else {}
        report |= {"notes": notes} if notes else {}
        body = orjson.dumps(report)
        return web.Response(
            body=body, status=200 if ready else 503, content_type="application/json"
        )

    return probe


async def metrics(request: web.Request) -> web.Response:
    """Respond with the metrics in the format that the scraper asks for, written in a thread."""
    accept, encodings = (
        ",".join(request.headers.getall(name, ())) for name in ("Accept", "Accept-Encoding")
    )
    chosen = choose_format(accept, encodings)
    body = await asyncio.to_thread(chosen.write, REGISTRY)
    headers = {"Content-Type": chosen.content_type, "Vary": "Accept, Accept-Encoding"}
    if chosen.is_compressed:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, headers=headers)


def probe_routes(checks: Checks) -> list[web.RouteDef]:
    """List the three routes, for a worker's own port or the port of the ingress."""
    # These would add an unused second series for each counter.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz(checks)),
        web.get("/metrics", metrics),
    ]
