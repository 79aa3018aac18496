"""A load balancer: each request goes to one of the ingress processes that are in rotation."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from yarl import URL

# RFC 9110, section 7.6.1, and what the client library writes by itself.
OWN_HEADERS = {"host", "connection", "keep-alive", "transfer-encoding", "content-length"}
SECONDS = aiohttp.ClientTimeout(total=150)


class Balancer:
    """Forwards requests in turn; counts the answers of each process by status."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self._client = client
        self._rotation: list[str] = []
        self._turn = 0
        self.answers: Counter[tuple[str, int]] = Counter()  # by the process's URL and status
        self.url = ""

    def add(self, url: str) -> None:
        self._rotation.append(url)

    def remove(self, url: str) -> None:
        """Send no further request there; those under way go on."""
        self._rotation.remove(url)

    @property
    def statuses(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for (_, status), count in self.answers.items():
            found[status] += count
        return found

    async def forward(self, request: web.Request) -> web.Response:
        """Forward a request; 502 when no answer comes, as load balancers do."""
        self._turn += 1
        process = self._rotation[self._turn % len(self._rotation)]
        target = URL(process + request.raw_path, encoded=True)
        body = await request.read()
        try:
            async with self._client.request(
                request.method,
                target,
                data=body or None,
                headers=_pass_on(request.headers.items()),
                allow_redirects=False,
            ) as answer:
                self.answers[process, answer.status] += 1
                headers = _pass_on(answer.headers.items())
                return web.Response(status=answer.status, body=await answer.read(), headers=headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.answers[process, 502] += 1
            return web.Response(status=502, text=f"{process}: {error!r}")


def _pass_on(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in OWN_HEADERS]


@asynccontextmanager
async def open_balancer() -> AsyncIterator[Balancer]:
    """Balance for the length of a block; nothing is in rotation at first."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, timeout=SECONDS, auto_decompress=False
    ) as client:
        balancer = Balancer(client)
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", balancer.forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            balancer.url = f"http://{host}:{port}"
            yield balancer
        finally:
            await runner.cleanup()
