"""Webhook sources over HTTP: what came, with which secret, and what was not understood."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import orjson
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import now
from infra.amqp import topology
from infra.security.standard_webhooks import V1, make_webhook_secret
from infra.settings import Settings
from infra.storage.webhook_counts import WebhookCount, add_counts, list_counts
from tests.infra.ledger import until
from tests.workers.ingress.conftest import serving, working
from tests.workers.ops.conftest import Visit
from tests.workers.ops.webhooks import put_unrecognised, report, send_chatgpt
from workers import relay

NEWEST, OLDEST = make_webhook_secret(V1), make_webhook_secret(V1)
QUEUE = "webhooks.unrecognised"
FILING = [s for s in relay.SUBSCRIPTIONS if s.queue in (QUEUE, topology.dead_queue(QUEUE))]
COUNT_LETTERS = text("select count(*) from dead_letters where queue = :queue")


@pytest.fixture
async def ingress(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    secrets = SecretStr(f"{NEWEST} {OLDEST}")
    async with serving(settings.model_copy(update={"chatgpt_webhook_secret": secrets})) as client:
        yield client


def row_of(page: str, source: str) -> str:
    found = re.search(rf'<tr[^>]* id="source-{source}">.*?</tr>', page, re.DOTALL)
    assert found, page
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[0]))


async def take_sample(visit: Visit) -> None:
    await visit.send("/queues/resume", kind="platform", name="claude")


async def test_what_an_ingress_takes_and_refuses_is_on_the_page(
    inside: Visit, ingress: aiohttp.ClientSession, settings: Settings, engine: AsyncEngine
) -> None:
    async with working(settings, *FILING):
        assert await send_chatgpt(ingress, NEWEST, "m-1", report()) == 200
        assert await send_chatgpt(ingress, OLDEST, "m-2", report(), late=40) == 200
        assert await send_chatgpt(ingress, NEWEST, "m-3", report(spend="<b>free</b>")) == 200
        assert await send_chatgpt(ingress, make_webhook_secret(V1), "m-4", report()) == 401
        assert await send_chatgpt(ingress, NEWEST, "m-5", report(), late=4000) == 401

        async def all_there() -> bool:
            async with engine.connect() as tx:
                letters = (await tx.execute(COUNT_LETTERS, {"queue": QUEUE})).scalar_one()
                counts = await list_counts(tx, now() - timedelta(hours=2))
            came = sum(one.webhooks for one in counts if one.counter == "outcome")
            return letters == 1 and came == 5

        await until(all_there)
    await take_sample(inside)
    status, page = await inside.get("/webhooks")
    assert status == 200
    assert "chatgpt reports; claude, gemini have sent" not in page
    assert "3 sources: chatgpt reports; claude and gemini have sent nothing yet." in page
    assert "1 webhook is not understood." in page
    row = row_of(page, "chatgpt")
    assert "2 accepted, 1 unrecognised , 2 bad signature" in row
    assert "p50 below" in row
    assert "p99 over 300 s limit 300 s" in row
    assert "1 67% 2 33% keep them: slot 2 was used" in re.sub(r" +", " ", row)
    assert "none yet" in row_of(page, "claude")
    assert "none: this scheme signs no time" in row_of(page, "claude")
    assert "1 that no secret matches" in page
    assert "1 signed more than 300 s ago or ahead" in page
    assert 'from <span class="mono">127.0.0.1</span>' in page
    assert NEWEST not in page
    assert "signature of slot 1" in page
    assert '<span class="l hit">    <span class="k">"spend"</span>' in page.replace("&#34;", '"')
    assert "<b>free" not in page
    assert re.search(r"line 9, <bdi>\S*data\.spend: Input should be", page)


async def test_groups_are_a_source_and_a_reason_and_are_read_again_by_its_parser(
    inside: Visit, engine: AsyncEngine
) -> None:
    good, bad = orjson.dumps(report()), orjson.dumps(report(clicks="two"))
    for number in range(3):
        await put_unrecognised(
            engine, good, "data.x: not known then", delivery=f"e{number}", fingerprint="aaaa"
        )
    await put_unrecognised(engine, bad, "data.clicks: no", delivery="e9", fingerprint="aaaa")
    await put_unrecognised(
        engine, b"\x1b[2J{\xe2\x80\xae", "body: Invalid JSON", "gemini", fingerprint="bbbb"
    )
    page = (await inside.get("/webhooks?group=aaaa"))[1]
    assert "5 webhooks are not understood." in page
    assert page.count("not read again yet") == 2
    assert "The parser of this release understands this body." in page
    assert "campaign.metrics_reported.v1" in page
    assert "Replay 4 webhooks" in page
    page = (await inside.get("/webhooks?group=aaaa&read=again"))[1]
    assert "3 would be accepted" in page
    assert "1 still unrecognised" in page
    assert "still unrecognised</span>" in page
    seen = page
    for _ in range(3):
        following = re.search(r'href="([^"]+)">Next', seen)
        assert following, seen
        seen = (await inside.get(following[1].replace("&amp;", "&").partition("#")[0]))[1]
    assert 'Next<span class="vh">' not in seen
    assert "does not understand this body either" in seen
    assert re.search(r'class="l hit">.*?"clicks"', seen.replace("&#34;", '"'))
    page = (await inside.get("/webhooks?group=bbbb"))[1]
    assert '<span class="ctl">\\x1b</span>[2J{' in page
    assert '<span class="ctl">\\u202e</span>' in page


async def test_a_source_that_used_to_send_is_silent_on_every_page(
    inside: Visit, engine: AsyncEngine
) -> None:
    moment = now()
    async with engine.begin() as tx:
        for hours in (5, 4, 3, 2):
            at = moment - timedelta(hours=hours)
            await add_counts(tx, [WebhookCount("gemini", "outcome", "accepted", 900, at)])
        await add_counts(tx, [WebhookCount("claude", "outcome", "accepted", 1, moment)])
    await take_sample(inside)
    page = (await inside.get("/webhooks"))[1]
    assert "3 sources: claude reports; gemini has been silent for 2 h" in page
    assert "usually every" in row_of(page, "gemini")
    assert 'data-state="warn"' in page
    assert '<span class="vh"> silent</span>' in (await inside.get("/audit"))[1]


async def test_a_read_only_session_sees_it_and_replays_nothing(
    inside: Visit, engine: AsyncEngine
) -> None:
    await put_unrecognised(engine, orjson.dumps(report()), "data.x: no")
    await inside.send("/mode", mode="read-only")
    status, page = await inside.get("/webhooks?read=again")
    assert status == 200
    assert "1 would be accepted" in page
    assert "/dead-letters/jobs" not in page
    assert "Its dead letter" in page


@pytest.mark.parametrize(
    "query", ["group=%00", "group=%ff", "after=x", "group=" + "x" * 5000, "read=again&group=1"]
)
async def test_any_address_shows_the_page(inside: Visit, query: str) -> None:
    status, page = await inside.get(f"/webhooks?{query}")
    assert status == 200
    assert "No webhook waits for a parser" in page
    assert "No signature was refused" in page
