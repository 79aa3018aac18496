"""Health probes and metrics of a process: ``/healthz``, ``/readyz`` and ``/metrics``."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web
from prometheus_client import REGISTRY, disable_created_metrics
from prometheus_client.exposition import choose_encoder

# Results of the checks by name; a text is a failure with its reason.
Checks = Callable[[], Awaitable[Mapping[str, bool | str]]]


async def healthz(_: web.Request) -> web.Response:
    """Respond 200: the process runs and its event loop is not blocked."""
    return web.Response(text="ok\n")


def readyz(checks: Checks) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Build the readiness probe: 200 if every check passes, else 503; the body lists the checks."""

    async def probe(_: web.Request) -> web.Response:
        results = await checks()
        passed = {name: value is True for name, value in results.items()}
        reasons = {name: value for name, value in results.items() if isinstance(value, str)}
        ready = all(passed.values())
        report = {"ready": ready, "checks": passed} | ({"reasons": reasons} if reasons else {})
        body = orjson.dumps(report)
        return web.Response(
            body=body, status=200 if ready else 503, content_type="application/json"
        )

    return probe


async def metrics(request: web.Request) -> web.Response:
    """Respond with the metrics in the format of ``Accept``, encoded in a thread."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    body = await asyncio.to_thread(encode, REGISTRY)
    return web.Response(body=body, headers={"Content-Type": content_type})


def probe_routes(checks: Checks) -> list[web.RouteDef]:
    """List the three routes, for a worker's own port or the port of the ingress."""
    # These would add an unused second series for each counter.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz(checks)),
        web.get("/metrics", metrics),
    ]
