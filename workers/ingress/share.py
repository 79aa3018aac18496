"""One web process among several: its number, the socket that all accept from, their metrics."""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from infra.process import PORTS
from infra.settings import Settings

NAME = "web"
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class ProcessShare:
    """``number`` counts from 0; without a ``listener`` the process opens its own."""

    number: int = 0
    count: int = 1
    listener: socket.socket | None = field(default=None, repr=False)

    def divide(self, settings: Settings) -> Settings:
        """Give the settings of this process: a share of the database's connections."""
        pool = max(1, settings.database_pool // self.count)
        return settings.model_copy(update={"database_pool": pool})


ALONE = ProcessShare()


def get_web_port(settings: Settings) -> int:
    """Give the port of the API."""
    return PORTS[NAME] if settings.port is None else settings.port


def open_listener(settings: Settings) -> socket.socket:
    """Listen on the port of the API; what connects waits until a process accepts it.

    Raises ``OSError``.
    """
    family, _, _, _, address = socket.getaddrinfo(
        settings.host, get_web_port(settings), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    listener.setblocking(False)  # noqa: FBT003 - its only parameter
    return listener


def respond_with_targets(
    share: ProcessShare, first_port: int
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Build the handler: the address at which a request arrives, with the port of each page.

    One process has its page of metrics on the common port, several have theirs from ``first_port``
    on. The format is that of http_sd_configs, by which Prometheus finds and scrapes them:
    https://prometheus.io/docs/prometheus/latest/http_sd/.
    """

    async def respond(request: web.Request) -> web.Response:
        if request.transport is None:
            raise ConnectionResetError
        host, port, *_ = request.transport.get_extra_info("sockname")
        ports = [port] if share.count == 1 else range(first_port, first_port + share.count)
        address = f"[{host}]" if ":" in host else host
        return web.json_response([{"targets": [f"{address}:{number}" for number in ports]}])

    return respond
