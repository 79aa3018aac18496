"""The metrics of the ingress, as a scraper reads them, compared with what was sent."""

import re
import time
from collections.abc import AsyncIterator, Sequence

import aiohttp
import orjson
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from events import CampaignMetricsReported
from events.envelope import Event
from infra import metrics
from infra.messaging.context import Context
from infra.messaging.subscription import Subscription
from infra.security.standard_webhooks import V1, make_webhook_secret, sign
from infra.settings import Settings
from tests.infra.ledger import EVENTS, QUEUE, until
from tests.workers.ingress.api.test_webhooks import METRICS, send
from tests.workers.ingress.conftest import serving, working

OPEN = {"Accept": "application/openmetrics-text;version=1.0.0"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01"
NEWEST, OLDEST = make_webhook_secret(V1), make_webhook_secret(V1)
CHATGPT = {"event": METRICS["event"], "data": METRICS["data"]}
LINE = re.compile(r"^(\w+)(?:\{(.*?)\})? (\S+)(?: # \{(.*)\} .*)?$", re.MULTILINE)


@pytest.fixture
async def rotating(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    """An ingress that knows two secrets of ChatGPT's webhooks."""
    secrets = SecretStr(f"{NEWEST} {OLDEST}")
    async with serving(settings.model_copy(update={"chatgpt_webhook_secret": secrets})) as client:
        yield client


async def scrape(client: aiohttp.ClientSession) -> dict[tuple[str, str], tuple[float, str]]:
    """Read every sample: its value and its exemplar, by name and labels."""
    text = await (await client.get("/metrics", headers=OPEN)).text()
    return {
        (name, labels): (float(value), mark) for name, labels, value, mark in LINE.findall(text)
    }


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None, (name, labels)
    return found


async def test_a_webhook_counts_the_slot_of_its_secret_its_skew_and_when_it_was_accepted(
    rotating: aiohttp.ClientSession,
) -> None:
    async def post(secret: str, late: int, delivery: str) -> int:
        body = orjson.dumps(CHATGPT)
        headers = sign(V1, [secret], delivery, int(time.time()) - late, body)
        return (await rotating.post("/webhooks/chatgpt", data=body, headers=headers)).status

    def read() -> list[float]:
        slots = [
            value("adrelay_webhook_secret_slot_total", source="chatgpt", slot=slot)
            for slot in ("1", "2")
        ]
        skew = "adrelay_webhook_skew_seconds"
        return [
            *slots,
            value(f"{skew}_count", source="chatgpt"),
            value(f"{skew}_bucket", source="chatgpt", le="10.0"),
            value(f"{skew}_bucket", source="chatgpt", le="300.0"),
        ]

    before = read()
    began = time.time()
    assert await post(NEWEST, 0, "m-1") == 200
    assert await post(OLDEST, 40, "m-2") == 200
    assert await post(OLDEST, -40, "m-3") == 200
    assert await post(NEWEST, 4000, "m-4") == 401
    assert await post(make_webhook_secret(V1), 0, "m-5") == 401

    grown = [after - earlier for after, earlier in zip(read(), before, strict=True)]
    assert grown == [1, 2, 4, 1, 3]
    last = value("adrelay_webhook_last_accepted_timestamp_seconds", source="chatgpt")
    assert began <= last <= time.time()


async def test_what_never_happened_is_0_and_not_absent(client: aiohttp.ClientSession) -> None:
    found = await scrape(client)

    for source in ("claude", "chatgpt", "gemini"):
        names = {name for name, labels in found if f'source="{source}"' in labels}
        assert {
            "adrelay_webhook_last_accepted_timestamp_seconds",
            "adrelay_webhook_skew_seconds_count",
            "adrelay_webhook_secret_slot_total",
            "adrelay_webhooks_total",
        } <= names
    for state in ("in_use", "idle"):
        assert ("adrelay_db_pool_connections", f'state="{state}"') in found
        assert ("adrelay_redis_pool_connections", f'state="{state}"') in found
    for name in ("adrelay_publish_confirm_seconds_count", "adrelay_db_pool_wait_seconds_count"):
        assert (name, "") in found
    assert found["process_cpu_seconds_total", ""][0] > 0


async def test_every_confirmed_webhook_is_sent_timed_and_counted_from_its_acceptance(
    client: aiohttp.ClientSession, settings: Settings
) -> None:
    labels = {
        "messaging_system": "rabbitmq",
        "messaging_operation_name": "publish",
        "messaging_destination_name": "adrelay.events",
        "error_type": "",
    }
    duration = "messaging_client_operation_duration_seconds_count"

    def read() -> list[float]:
        return [
            value("adrelay_published_total", outcome="confirmed"),
            value("messaging_client_sent_messages_total", **labels),
            value("adrelay_publish_confirm_seconds_count"),
            value(duration, **labels, messaging_operation_type="send"),
            value("adrelay_event_seconds_count", queue=QUEUE),
            value("adrelay_event_seconds_bucket", queue=QUEUE, le="60.0"),
        ]

    metrics.Meters(QUEUE)
    before = read()
    async with working(settings, Subscription(QUEUE, EVENTS, ignore)):
        for number in range(5):
            report = {**METRICS, "id": f"evt-{number}"}
            assert (await send(client, settings, report)).status == 200
        await until(lambda: _grown_to(before[4] + 5))

    grown = [after - earlier for after, earlier in zip(read(), before, strict=True)]
    assert grown[:2] == [5, 5]
    assert 1 <= grown[2] == grown[3] <= 5
    assert grown[4:] == [5, 5]


async def _grown_to(number: float) -> bool:
    return value("adrelay_event_seconds_count", queue=QUEUE) >= number


async def ignore(_: list[CampaignMetricsReported], __: Context) -> Sequence[Event]:
    return ()


async def test_a_request_whose_trace_is_recorded_is_an_exemplar(
    client: aiohttp.ClientSession, settings: Settings
) -> None:
    assert (await send(client, settings, METRICS, traceparent=SAMPLED)).status == 200

    found = await scrape(client)

    marks = {mark for (name, _), (_, mark) in found.items() if name.endswith("seconds_bucket")}
    assert f'trace_id="{TRACE}"' in marks
