"""Traffic for ``--repeat``: many events, each sent until it is accepted, all counted in the end.

Whatever is accepted has to count exactly once, also while processes are killed: what gets no
answer is sent again with the same id.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import aiohttp
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from infra.deploy.demo.api_client import until
from infra.deploy.demo.scenario import Stage, expect, note, report, title
from infra.deploy.demo.security_steps import REPORTED, Upstream, admin_token, post, upstream_of

DAY = "2026-01-18"
PATIENCE = 120.0  # seconds
PAUSE = 0.2  # seconds
GONE = (aiohttp.ClientError, TimeoutError, *CONNECTION_EXCEPTIONS)


async def until_accepted(send: Callable[[], Awaitable[object]]) -> None:
    """Send again and again until there is no failure; raises the last one in the end."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            await send()
        except GONE:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(PAUSE)
        else:
            return


async def traffic(stage: Stage, rounds: int) -> None:
    """Send ``rounds`` times events in every way, then count the effects."""
    title(f"Traffic: {rounds} rounds over AMQP, HTTP and webhooks.")
    campaigns = list(stage.campaigns.values())
    upstream, started = upstream_of(stage), time.monotonic()
    for number in range(1, rounds + 1):
        await asyncio.gather(*(_round(stage, upstream, one, number) for one in campaigns))
    sent = time.monotonic() - started
    token = await admin_token(stage)
    for campaign in campaigns:
        await _counted(stage, token, campaign, rounds)
    total = rounds * len(campaigns) * 3
    note(f"{total} events were accepted in {sent:.1f} s and each counted once")


async def _round(stage: Stage, upstream: Upstream, campaign: dict[str, Any], number: int) -> None:
    """Send one report over AMQP, one over HTTP and one webhook about a campaign."""
    platform = campaign["platform"]
    amqp, http = (upstream.delta(campaign, DAY, count) for count in (1, 100_000))
    webhook, delivery = report(campaign, 3000 + number, ""), f"demo-{uuid4()}"
    webhook["id"] = delivery
    await until_accepted(lambda: stage.tap.publish(amqp, f"{REPORTED}.{platform}"))
    await until_accepted(lambda: post(stage, upstream, http))
    await until_accepted(lambda: stage.outside.webhook(platform, webhook, delivery))


async def _counted(stage: Stage, token: str, campaign: dict[str, Any], rounds: int) -> None:
    wanted = rounds * 100_001

    async def counted() -> bool:
        added = await stage.figures(campaign["id"], token, DAY)
        total = await stage.figures(campaign["id"], token)
        expect(added["impressions"] <= wanted, f"counted too much: {added}")
        return bool(added["impressions"] == wanted and total["impressions"] == 3000 + rounds)

    await until(f"every report about {campaign['name']} is counted", counted, PATIENCE)
