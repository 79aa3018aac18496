"""``python -m workers.ops``: serves the console until SIGTERM, then exits 0."""

import asyncio
import logging

import uvloop

from infra import logs, metrics
from infra.process import run_until, stop_on_signals, tune_gc
from infra.settings import Settings, load_settings, require
from workers.ops.app import NAME, open_console, require_keys

log = logging.getLogger(__name__)


def main() -> None:
    """Run the console; exits the process."""
    settings = load_settings()
    require(require_keys, settings)
    logs.configure_logging(settings.log_level, settings.log_levels, settings.log_format)
    metrics.export_build_info()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(serve(settings))
    raise SystemExit(code)


async def serve(settings: Settings) -> int:
    """Serve until a signal arrives; returns the exit status."""
    stop = stop_on_signals()
    async with open_console(settings, stop) as (port, background):
        tune_gc()
        log.info("started", extra={"task": NAME, "port": port})
        return await run_until(stop, [], settings.shutdown_deadline, background)


if __name__ == "__main__":
    main()
