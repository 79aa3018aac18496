"""Names the pages of metrics of all web processes, so that Prometheus finds and scrapes each.

The format is that of ``http_sd_configs``: https://prometheus.io/docs/prometheus/latest/http_sd/.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from workers.ingress.share import ProcessShare


def respond_with_targets(
    share: ProcessShare, first_port: int
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Build the handler: the address at which a request arrives, with the port of each page.

    One process has its page on the common port, several have theirs from ``first_port`` on.
    """

    async def respond(request: web.Request) -> web.Response:
        if request.transport is None:
            raise ConnectionResetError
        host, port, *_ = request.transport.get_extra_info("sockname")
        ports = [port] if share.count == 1 else range(first_port, first_port + share.count)
        address = f"[{host}]" if ":" in host else host
        return web.json_response([{"targets": [f"{address}:{number}" for number in ports]}])

    return respond
