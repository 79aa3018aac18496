"""``python -m infra.deploy.demo [--repeat N]``: exit status 0 when all was as it should be."""

import argparse
import asyncio
import os
import sys

import aiohttp
from aio_pika.exceptions import AMQPError

from infra.deploy.demo import campaign_steps, security_steps
from infra.deploy.demo.api_client import TIMEOUT, Outside, Unexpected
from infra.deploy.demo.event_listener import open_tap
from infra.deploy.demo.load import traffic
from infra.deploy.demo.scenario import Stage
from infra.env_file import read_env_file
from infra.settings import SERVICES_ENV


class NothingRuns(Exception):
    """There is no system to show."""


async def show(rounds: int) -> None:
    """Show the story, then send ``rounds`` of traffic."""
    release = read_env_file(SERVICES_ENV.with_name("release.env"))
    env = {**read_env_file(SERVICES_ENV), **os.environ}
    looking = env.get("OPS_RABBITMQ_URL") or release.get("RABBITMQ_URL")
    if "ADRELAY_URL" not in env or looking is None:
        raise NothingRuns
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    await _greet(env["ADRELAY_URL"])
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        open_tap(looking.split()[0], env["UPSTREAM_RABBITMQ_URL"].split()[0]) as tap,
    ):
        stage = Stage(Outside(env, session), tap)
        await campaign_steps.accounts(stage)
        await campaign_steps.creating(stage)
        await campaign_steps.syncing(stage)
        await campaign_steps.webhooks(stage)
        await security_steps.forgery(stage)
        await security_steps.letters(stage)
        await security_steps.upstreams(stage)
        if rounds:
            await traffic(stage, rounds)
    print("\nEvery step was as it should be.")


async def _greet(url: str) -> None:
    """See whether anybody is there, before the story begins; raises ``NothingRuns``."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url}/healthz"),
        ):
            pass
    except (aiohttp.ClientError, OSError):
        raise NothingRuns from None


def main() -> int:
    """Run it; the first thing that is not as it should be ends it with status 1."""
    parser = argparse.ArgumentParser(prog="python -m infra.deploy.demo", description=__doc__)
    parser.add_argument("--repeat", type=int, default=0, metavar="N", help="rounds of traffic")
    try:
        asyncio.run(show(parser.parse_args().repeat))
    except NothingRuns:
        print("adrelay: nothing runs here: start it with 'make run' or 'make up'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except Unexpected as wrong:
        print(f"\nNot as it should be: {wrong}", file=sys.stderr)
        return 1
    except (OSError, TimeoutError, aiohttp.ClientError, AMQPError) as error:
        print(f"\nNo answer: {type(error).__name__} {error}", file=sys.stderr)
        print("'make status' shows what runs, .services/log why not", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
