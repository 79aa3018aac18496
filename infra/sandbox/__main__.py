"""``python -m infra.sandbox``: serve until SIGTERM or SIGINT; a second signal ends it at once."""

import asyncio
import logging
import os
import signal
import sys

from infra.logs import configure_logging
from infra.sandbox.server import open_sandbox
from infra.settings import Settings, load_settings

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> int:
    """Serve until a signal; returns exit status 1 if a background task has ended."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    async with open_sandbox(settings) as sandbox:
        log.info("the sandbox platforms are available", extra={"host": sandbox.url})
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, sandbox.background}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if sandbox.background.done():
            log.error(
                "a background task of the sandbox has ended",
                exc_info=sandbox.background.exception(),
            )
            return 1
    return 0


if __name__ == "__main__":
    loaded = load_settings()
    configure_logging(loaded.log_level, loaded.log_levels, loaded.log_format)
    sys.exit(asyncio.run(serve(loaded)))
