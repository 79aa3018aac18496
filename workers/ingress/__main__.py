"""``python -m workers.ingress``: serves until SIGTERM, finishes requests in flight, exits 0.

With ``WEB_PROCESSES`` it starts that many processes and serves nothing itself.
"""

import asyncio
import logging
from collections.abc import Callable

import uvloop

from infra import logs, metrics
from infra.process import run_until, stop_on_signals, tune_gc
from infra.settings import Settings, load_settings, require
from workers.ingress.app import open_ingress, require_keys
from workers.ingress.share import ALONE, NAME, ProcessShare, open_listener
from workers.ingress.supervisor import supervise

log = logging.getLogger(__name__)


def main() -> None:
    """Run the ingress; exits the process."""
    settings = prepare()
    count = settings.web_process_count
    if count > 1:
        raise SystemExit(asyncio.run(supervise(open_listener(settings), count)))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(serve(settings))
    raise SystemExit(code)


def prepare() -> Settings:
    """Load the settings, check the keys and begin to log; ends the process if one is wrong."""
    settings = load_settings()
    require(require_keys, settings)
    logs.configure_logging(settings.log_level, settings.log_levels, settings.log_format)
    metrics.export_build_info()
    return settings


async def serve(
    settings: Settings,
    share: ProcessShare = ALONE,
    watch: Callable[[asyncio.Event], None] = lambda _: None,
) -> int:
    """Serve until a signal arrives; returns the exit status. ``watch`` is called once it serves."""
    stop = stop_on_signals()
    async with open_ingress(settings, stop, share) as (port, background):
        tune_gc()
        log.info("started", extra={"task": NAME, "port": port})
        watch(stop)
        return await run_until(stop, [], settings.shutdown_deadline, background)


if __name__ == "__main__":
    main()
