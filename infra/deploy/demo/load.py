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

from infra.deploy.demo.api_client import wait_until
from infra.deploy.demo.scenario import Scenario, expect, metrics_webhook, print_note, print_title
from infra.deploy.demo.security_steps import REPORTED, Upstream, admin_token, get_upstream, post

DAY = "2026-01-18"
LOAD_TIMEOUT = 120.0  # seconds
RETRY_INTERVAL = 0.2  # seconds
CONNECTION_ERRORS = (aiohttp.ClientError, TimeoutError, *CONNECTION_EXCEPTIONS)


async def send_until_accepted(send: Callable[[], Awaitable[object]]) -> None:
    """Send again and again until there is no failure; raises the last one in the end."""
    end = time.monotonic() + LOAD_TIMEOUT
    while True:
        try:
            await send()
        except CONNECTION_ERRORS:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(RETRY_INTERVAL)
        else:
            return


async def send_load(scenario: Scenario, rounds: int) -> None:
    """Send ``rounds`` times events in every way, then count the effects."""
    print_title(f"Traffic: {rounds} rounds over AMQP, HTTP and webhooks.")
    campaigns = list(scenario.campaigns.values())
    upstream, started = get_upstream(scenario), time.monotonic()
    for number in range(1, rounds + 1):
        await asyncio.gather(*(_round(scenario, upstream, one, number) for one in campaigns))
    sent = time.monotonic() - started
    token = await admin_token(scenario)
    for campaign in campaigns:
        await _counted(scenario, token, campaign, rounds)
    total = rounds * len(campaigns) * 3
    print_note(f"{total} events were accepted in {sent:.1f} s and each counted once")


async def _round(
    scenario: Scenario, upstream: Upstream, campaign: dict[str, Any], number: int
) -> None:
    """Send one report over AMQP, one over HTTP and one webhook about a campaign."""
    platform = campaign["platform"]
    amqp, http = (upstream.delta(campaign, DAY, count) for count in (1, 100_000))
    webhook, delivery = metrics_webhook(campaign, 3000 + number, ""), f"demo-{uuid4()}"
    webhook["id"] = delivery
    await send_until_accepted(lambda: scenario.listener.publish(amqp, f"{REPORTED}.{platform}"))
    await send_until_accepted(lambda: post(scenario, upstream, http))
    await send_until_accepted(lambda: scenario.client.webhook(platform, webhook, delivery))


async def _counted(scenario: Scenario, token: str, campaign: dict[str, Any], rounds: int) -> None:
    wanted = rounds * 100_001

    async def counted() -> bool:
        added = await scenario.figures(campaign["id"], token, DAY)
        total = await scenario.figures(campaign["id"], token)
        expect(added["impressions"] <= wanted, f"counted too much: {added}")
        return bool(added["impressions"] == wanted and total["impressions"] == 3000 + rounds)

    await wait_until(f"every report about {campaign['name']} is counted", counted, LOAD_TIMEOUT)
