"""``python -m infra.deploy.demo [--repeat N]``: exit status 0 when all was as it should be."""

import argparse
import asyncio
import os
import sys

import aiohttp
from aio_pika.exceptions import AMQPError

from infra.deploy.demo import campaign_steps, console_steps, security_steps
from infra.deploy.demo.api_client import REQUEST_TIMEOUT, ApiClient, DemoFailed
from infra.deploy.demo.event_listener import listen_for_events
from infra.deploy.demo.load import send_load
from infra.deploy.demo.scenario import Scenario
from infra.env_file import read_env_file
from infra.settings import SERVICES_ENV


class NotRunning(Exception):
    """There is no system to show."""


async def run_demo(rounds: int) -> None:
    """Show the story, then send ``rounds`` of traffic."""
    release = read_env_file(SERVICES_ENV.with_name("release.env"))
    env = {**read_env_file(SERVICES_ENV), **os.environ}
    looking = env.get("OPS_RABBITMQ_URL") or release.get("RABBITMQ_URL")
    if "ADRELAY_URL" not in env or looking is None:
        raise NotRunning
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
    await check_running(env["ADRELAY_URL"])
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        listen_for_events(looking.split()[0], env["UPSTREAM_RABBITMQ_URL"].split()[0]) as listener,
    ):
        scenario = Scenario(ApiClient(env, session), listener)
        await campaign_steps.register_and_log_in(scenario)
        await campaign_steps.create_campaigns(scenario)
        await campaign_steps.wait_for_sync(scenario)
        await campaign_steps.send_webhooks(scenario)
        await security_steps.check_forged_webhook(scenario)
        await security_steps.check_dead_letters(scenario)
        await security_steps.check_upstream(scenario)
        await console_steps.leave_bad_events(scenario)
        if rounds:
            await send_load(scenario, rounds)
    print("\nEvery step was as it should be.")
    print(console_steps.describe_console(env))


async def check_running(url: str) -> None:
    """Check that the API answers before the first step; raises ``NotRunning``."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url}/healthz"),
        ):
            pass
    except (aiohttp.ClientError, OSError):
        raise NotRunning from None


def main() -> int:
    """Run it; the first thing that is not as it should be ends it with status 1."""
    parser = argparse.ArgumentParser(prog="python -m infra.deploy.demo", description=__doc__)
    parser.add_argument("--repeat", type=int, default=0, metavar="N", help="rounds of traffic")
    try:
        asyncio.run(run_demo(parser.parse_args().repeat))
    except NotRunning:
        print("adrelay: nothing runs here: start it with 'make run' or 'make up'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except DemoFailed as wrong:
        print(f"\nNot as it should be: {wrong}", file=sys.stderr)
        return 1
    except (OSError, TimeoutError, aiohttp.ClientError, AMQPError) as error:
        print(f"\nNo answer: {type(error).__name__} {error}", file=sys.stderr)
        print("'make status' shows what runs, .services/log why not", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
