"""Plain aiohttp and aio-pika: a signed webhook is checked, validated, and published confirmed."""

import asyncio
import hashlib
import hmac
import os

import aio_pika
import uvloop
from aiohttp import web

from tests.bench.peers.webhook import Webhook, event_of
from tests.bench.peers.work import BROKER

PORT = int(os.environ.get("PORT", "0"))
EXCHANGE = os.environ.get("BENCH_EXCHANGE", "")
KEY = os.environ.get("BENCH_KEY", "")
SECRET = os.environ.get("BENCH_SECRET", "").encode()


async def make_app() -> web.Application:
    """Connect, and make the one route."""
    connection = await aio_pika.connect(BROKER)
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    exchange = channel.default_exchange
    if EXCHANGE:
        exchange = await channel.get_exchange(EXCHANGE)

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        expected = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, request.headers.get("X-Claude-Signature", "")):
            return web.json_response({"error": "signature"}, status=401)
        message = aio_pika.Message(
            event_of(Webhook.model_validate_json(body)),
            delivery_mode=2,
            content_type="application/json",
        )
        await exchange.publish(message, KEY, mandatory=True)
        return web.json_response({"received": True})

    async def ready(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post("/webhooks/claude", receive)
    app.router.add_get("/readyz", ready)
    return app


async def main() -> None:
    """Serve until the process is ended."""
    runner = web.AppRunner(await make_app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
