"""``python -m infra.deploy.demo [--repeat N]``: exit status 0 when all was as it should be."""

import argparse
import asyncio
import os
import sys

import aiohttp

from infra.deploy.demo import story, trust
from infra.deploy.demo.outside import TIMEOUT, Outside, Unexpected
from infra.deploy.demo.stage import Stage
from infra.deploy.demo.tap import open_tap
from infra.deploy.demo.traffic import traffic
from infra.settings import SERVICES_ENV, read_env_file


async def show(rounds: int) -> None:
    """Show the story, then send ``rounds`` of traffic."""
    release = read_env_file(SERVICES_ENV.with_name("release.env"))
    env = {**read_env_file(SERVICES_ENV), **os.environ}
    if "ADRELAY_URL" not in env:
        raise Unexpected("nothing runs here: start it with 'make run' or 'make up'")
    looking = env.get("OPS_RABBITMQ_URL") or release["RABBITMQ_URL"]
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        open_tap(looking.split()[0], env["UPSTREAM_RABBITMQ_URL"].split()[0]) as tap,
    ):
        stage = Stage(Outside(env, session), tap)
        await story.accounts(stage)
        await story.creating(stage)
        await story.syncing(stage)
        await story.webhooks(stage)
        await trust.forgery(stage)
        await trust.letters(stage)
        await trust.upstreams(stage)
        if rounds:
            await traffic(stage, rounds)
    print("\nEvery step was as it should be.")


def main() -> int:
    """Run it; the first thing that is not as it should be ends it with status 1."""
    parser = argparse.ArgumentParser(prog="python -m infra.deploy.demo", description=__doc__)
    parser.add_argument("--repeat", type=int, default=0, metavar="N", help="rounds of traffic")
    try:
        asyncio.run(show(parser.parse_args().repeat))
    except Unexpected as wrong:
        print(f"\nNot as it should be: {wrong}", file=sys.stderr)
        return 1
    except (OSError, TimeoutError, aiohttp.ClientError) as error:
        print(f"\nNo answer: {type(error).__name__} {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
