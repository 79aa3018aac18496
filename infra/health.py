"""What a process shows of itself: ``/healthz``, ``/readyz`` and ``/metrics``."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web
from prometheus_client import REGISTRY, disable_created_metrics
from prometheus_client.exposition import choose_encoder

# Names of what has to work, and whether it does; a text says why it does not.
Checks = Callable[[], Awaitable[Mapping[str, bool | str]]]


async def healthz(_: web.Request) -> web.Response:
    """Answer 200: the process lives and its loop turns."""
    return web.Response(text="ok\n")


def readyz(checks: Checks) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Make the readiness route: 200 when every check holds, else 503; the body names them."""

    async def answer(_: web.Request) -> web.Response:
        found = await checks()
        passed = {name: value is True for name, value in found.items()}
        reasons = {name: value for name, value in found.items() if isinstance(value, str)}
        ready = all(passed.values())
        told = {"ready": ready, "checks": passed} | ({"reasons": reasons} if reasons else {})
        body = orjson.dumps(told)
        return web.Response(
            body=body, status=200 if ready else 503, content_type="application/json"
        )

    return answer


async def metrics(request: web.Request) -> web.Response:
    """Answer the metrics in the format that the scraper prefers, made off the loop."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    body = await asyncio.to_thread(encode, REGISTRY)
    return web.Response(body=body, headers={"Content-Type": content_type})


def probe_routes(checks: Checks) -> list[web.RouteDef]:
    """List the three routes, for a worker's own port or beside the ingress's API."""
    # They would be a second series for each counter, and nobody looks at them.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz(checks)),
        web.get("/metrics", metrics),
    ]
