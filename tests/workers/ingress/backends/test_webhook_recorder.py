"""What webhooks came is in Postgres: by outcome, secret slot, skew and failed check."""

import time
from datetime import timedelta

import aiohttp
import orjson
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra import metrics
from infra.security.standard_webhooks import V1, make_webhook_secret, sign
from infra.settings import Settings
from infra.storage.webhook_counts import WebhookCount, add_counts, list_counts, read_accepted
from infra.web.database import Database
from tests.infra.ledger import until
from tests.workers.ingress.api.test_webhooks import METRICS
from tests.workers.ingress.conftest import serving
from workers.ingress.backends import webhook_recorder
from workers.ingress.backends.webhook_recorder import WebhookRecorder

NEWEST, OLDEST = make_webhook_secret(V1), make_webhook_secret(V1)
REPORT = {"event": METRICS["event"], "data": METRICS["data"]}
Counts = dict[tuple[str, str], WebhookCount]


async def read(engine: AsyncEngine, source: str = "chatgpt") -> Counts:
    async with engine.connect() as tx:
        found = await list_counts(tx, now() - timedelta(hours=24))
    return {(one.counter, one.label): one for one in found if one.source == source}


async def post(
    client: aiohttp.ClientSession, secret: str, delivery: str, late: int = 0, **data: object
) -> int:
    body = orjson.dumps({**REPORT, **data})
    headers = sign(V1, [secret], delivery, int(time.time()) - late, body)
    async with client.post("/webhooks/chatgpt", data=body, headers=headers) as response:
        return response.status


async def test_what_came_is_recorded_behind_the_requests(
    settings: Settings, engine: AsyncEngine
) -> None:
    secrets = SecretStr(f"{NEWEST} {OLDEST}")
    began = now()
    async with serving(settings.model_copy(update={"chatgpt_webhook_secret": secrets})) as client:
        assert await post(client, NEWEST, "m-1") == 200
        assert await post(client, NEWEST, "m-2", late=40) == 200
        assert await post(client, NEWEST, "m-3", event="campaign.renamed") == 200
        assert await post(client, make_webhook_secret(V1), "m-4") == 401
        assert await post(client, NEWEST, "m-5", late=4000) == 401

        async def recorded() -> bool:
            return (
                sum(c.webhooks for k, c in (await read(engine)).items() if k[0] == "outcome") == 5
            )

        await until(recorded)
        found = await read(engine)
    assert {key: one.webhooks for key, one in found.items() if one.webhooks} == {
        ("outcome", "accepted"): 2,
        ("outcome", "unrecognised"): 1,
        ("outcome", "bad_signature"): 2,
        ("slot", "1"): 3,
        ("skew", "60.0"): 1,
        ("skew", "+Inf"): 1,
        ("bad_signature", "signature"): 1,
        ("bad_signature", "timestamp"): 1,
    } | {key: one.webhooks for key, one in found.items() if key[0] == "skew" and key[1] < "3"}
    assert sum(one.webhooks for key, one in found.items() if key[0] == "skew") == 4
    accepted = found["outcome", "accepted"]
    assert accepted.last_at is not None
    assert began <= accepted.last_at <= now()
    assert found["bad_signature", "timestamp"].address == "127.0.0.1"
    assert (found["slot", "2"].webhooks, found["slot", "2"].last_at) == (0, None)


async def test_what_the_last_requests_were_is_recorded_when_the_process_ends(
    settings: Settings, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_recorder, "INTERVAL", 3600.0)
    secret = SecretStr(NEWEST)
    async with serving(settings.model_copy(update={"chatgpt_webhook_secret": secret})) as client:
        assert await post(client, NEWEST, "m-1") == 200
    assert (await read(engine))["outcome", "accepted"].webhooks == 1


async def test_a_slot_that_is_gone_is_gone_and_counts_go_on(engine: AsyncEngine) -> None:
    database = Database(engine)
    moment = now()
    async with engine.begin() as tx:
        await add_counts(
            tx, [WebhookCount("chatgpt", "slot", slot, 5, moment) for slot in ("1", "2", "3")]
        )
    await WebhookRecorder(database, {"chatgpt": 2}).write()
    found = await read(engine)
    assert {label: one.webhooks for (_, label), one in found.items()} == {"1": 5, "2": 5}
    async with engine.begin() as tx:
        for hours in (200, 30, 3, 0):
            at = moment - timedelta(hours=hours)
            await add_counts(tx, [WebhookCount("claude", "outcome", "accepted", 10, at)])
    async with engine.connect() as tx:
        [claude] = (await read_accepted(tx, moment)).values()
    assert (claude.total, claude.week, claude.last_at) == (40, 30, moment)
    assert claude.usual_gap == pytest.approx(30 * 3600 / 30, rel=0.04)
    assert (await read(engine, "claude"))["outcome", "accepted"].webhooks == 20


async def test_an_outage_costs_no_count(engine: AsyncEngine) -> None:
    """What could not be written is written with what comes next."""
    database = Database(engine)
    recorder = WebhookRecorder(database, {})
    metrics.WEBHOOKS.labels("gemini", "accepted").inc(3)
    database._cooldown.start()
    await recorder.write()
    assert await read(engine, "gemini") == {}
    metrics.WEBHOOKS.labels("gemini", "accepted").inc(4)

    async def written() -> bool:
        await recorder.write()
        return ("outcome", "accepted") in await read(engine, "gemini")

    await until(written)
    assert (await read(engine, "gemini"))["outcome", "accepted"].webhooks == 7
