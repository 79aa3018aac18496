"""The sandbox by itself: each platform's own words, its memory, its control API, its end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from infra.sandbox.campaigns import DesiredCampaign
from infra.sandbox.state import PlatformState, SandboxResponse
from tests.sandbox import Playground, open_playground

REPO = Path(__file__).parents[3]
CLAUDE = {
    "name": "Winter",
    "budget": 10.5,
    "currency": "EUR",
    "status": "active",
    "targeting": {"interests": ["ski"], "ageRange": [18, 65]},
    "externalId": "ref",
    "externalVersion": 1,
}
CHATGPT = {
    "title": "Winter",
    "budget_cents": 1050,
    "currency": "EUR",
    "state": "live",
    "audience": {"topics": ["ski"], "age_min": 18, "age_max": 65},
    "metadata": {"reference": "ref", "version": "1"},
}
GEMINI = {
    "campaign": {
        "displayName": "Winter",
        "budgetMicros": "10500000",
        "currencyCode": "EUR",
        "servingState": "ENABLED",
        "targeting": {"interestCategories": ["ski"], "ageRange": {"min": 18, "max": 65}},
        "labels": {"reference": "ref", "version": "1"},
    }
}


@pytest.fixture
async def sandbox() -> AsyncIterator[Playground]:
    async with open_playground() as playground:
        yield playground


async def call(
    sandbox: Playground, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    platform = path.split("/")[1]
    token = sandbox.app.states[platform].issue_token(60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with sandbox.session.request(
        method,
        sandbox.url + path,
        json=body,
        headers={"Authorization": f"Bearer {token}", **named},
    ) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("collection", "payload", "id_of", "state_of", "pause", "resume"),
    [
        ("/claude/v1/campaigns", CLAUDE, "id", "status", "/pause", "/resume"),
        ("/chatgpt/ads/v1/campaigns", CHATGPT, "id", "state", "/pause", "/start"),
        ("/gemini/v1/campaigns", GEMINI, "resourceName", "servingState", ":pause", ":enable"),
    ],
)
async def test_each_platform_has_its_own_paths_and_words(
    sandbox: Playground,
    collection: str,
    payload: dict[str, Any],
    id_of: str,
    state_of: str,
    pause: str,
    resume: str,
) -> None:
    status, created = await call(sandbox, "POST", collection, payload)
    assert status == 201
    one = f"{collection}/{created[id_of].removeprefix('campaigns/')}"
    assert (await call(sandbox, "GET", one)) == (200, created)
    _, paused = await call(sandbox, "POST", one + pause)
    assert paused[state_of].lower() == "paused"
    assert (await call(sandbox, "POST", one + resume)) == (200, created)
    assert (await call(sandbox, "DELETE", one))[0] == 200
    status, fault = await call(sandbox, "GET", one)
    assert status == 404
    assert "message" in fault["error"]


async def test_a_call_without_a_good_token_is_refused(sandbox: Playground) -> None:
    url = f"{sandbox.url}/claude/v1/campaigns"
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eA=="}):
        async with sandbox.session.post(url, json=CLAUDE, headers=headers) as answer:
            assert answer.status == 401
    assert await sandbox.campaigns("claude") == []


async def test_a_request_that_is_not_well_formed_is_refused(sandbox: Playground) -> None:
    wrong = {**CLAUDE, "budget": -1}
    assert (await call(sandbox, "POST", "/claude/v1/campaigns", wrong))[0] == 400


async def test_one_key_is_one_answer_whatever_is_asked(sandbox: Playground) -> None:
    path = "/claude/v1/campaigns"
    payloads = [CLAUDE, CLAUDE, {**CLAUDE, "name": "Spring"}]
    calls = [call(sandbox, "POST", path, payload, Idempotency_Key="k") for payload in payloads]
    found = await asyncio.gather(*calls)
    assert found[0] == found[1] == found[2]
    other = await call(sandbox, "POST", path, CLAUDE, Idempotency_Key="other")
    assert other[1]["id"] != found[0][1]["id"]
    assert [c["outcome"] for c in await sandbox.calls("claude", outcome="replayed")] == [
        "replayed",
        "replayed",
    ]


async def test_faults_end_after_so_many_times(sandbox: Playground) -> None:
    await sandbox.faults("claude", error_rate=1, times=2)
    path = "/claude/v1/campaigns"
    answers = [(await call(sandbox, "POST", path, CLAUDE))[0] for _ in range(4)]
    assert answers == [500, 500, 201, 201]
    assert (await sandbox.control("GET", "/claude"))["error_rate"] == 0


async def test_a_rate_limit_lets_so_many_through(sandbox: Playground) -> None:
    await sandbox.faults("claude", rate_limit=3, retry_after=2)
    path = "/claude/v1/campaigns"
    answers = [(await call(sandbox, "POST", path, CLAUDE))[0] for _ in range(5)]
    assert answers == [201, 201, 201, 429, 429]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/claude", {"error_rate": 2}, 400),
        ("PUT", "/claude", {"unknown": 1}, 400),
        ("PUT", "", {"metrics_seconds": -1}, 400),
        ("POST", "/claude/webhooks", {"kind": "metrics", "campaign_id": "x"}, 400),
        ("POST", "/claude/webhooks", {"kind": "other"}, 400),
        ("GET", "/other", None, 404),
    ],
)
async def test_what_is_asked_for_wrongly_is_refused(
    sandbox: Playground, method: str, path: str, body: Any, status: int
) -> None:
    async with sandbox.session.request(method, f"{sandbox.url}/_control{path}", json=body) as got:
        assert got.status == status


async def test_the_overview_counts_what_happened(sandbox: Playground) -> None:
    await call(sandbox, "POST", "/gemini/v1/campaigns?requestId=k", GEMINI)
    shown = await sandbox.control("GET", "")
    gemini = shown["platforms"]["gemini"]
    assert (gemini["campaigns"], gemini["calls"]) == (1, 1)
    (noted,) = await sandbox.calls("gemini", reference="ref", action="create")
    assert (noted["key"], noted["status"], noted["outcome"]) == ("k", 201, "done")


async def test_a_call_is_noted_with_what_it_pushed_and_how_long_it_took(
    sandbox: Playground,
) -> None:
    await sandbox.faults("gemini", latency_ms=50)
    await call(sandbox, "POST", "/gemini/v1/campaigns?requestId=k", GEMINI)
    (noted,) = await sandbox.calls("gemini")
    took = datetime.fromisoformat(noted["at"]) - datetime.fromisoformat(noted["began"])
    assert took >= timedelta(milliseconds=50)
    assert noted["version"] == "1"


def test_memory_is_bounded() -> None:
    book = PlatformState("x_", b"secret", max_campaigns=10, max_answers=10)
    names = ["Seeded one", *(f"plain {n}" for n in range(30))]
    for name in names:
        desired = DesiredCampaign(name, 1, "EUR", (), (18, 65), "active", name, "1")
        campaign = book.create(desired, key=name)
        book.remember(name, campaign.id, SandboxResponse(201, {}))
        book.issue_token(60)
    assert [c.desired.name for c in book.campaigns.values()] == ["Seeded one", *names[-9:]]
    assert book.evicted == 21
    assert len(book.answers) <= 10


def test_ids_follow_from_key_and_secret_and_from_nothing_else() -> None:
    desired = DesiredCampaign("one", 1, "EUR", (), (18, 65), "active", "ref", "1")
    ids = {
        PlatformState("x_", secret).create(desired, key).id
        for secret in (b"1", b"2")
        for key in "ab"
    }
    assert len(ids) == 4
    assert PlatformState("x_", b"1").create(desired, "a").id in ids


async def test_campaigns_and_answers_survive_a_restart_when_told_where(tmp_path: Path) -> None:
    state = {"sandbox_state": str(tmp_path / "deep" / "state.json")}
    path = "/claude/v1/campaigns"
    async with open_playground(**state) as sandbox:
        before = await call(sandbox, "POST", path, CLAUDE, Idempotency_Key="k")
        held = await sandbox.campaigns("claude")
    async with open_playground(**state) as sandbox:
        assert await sandbox.campaigns("claude") == held
        assert await call(sandbox, "POST", path, CLAUDE, Idempotency_Key="k") == before
        assert [c["outcome"] for c in await sandbox.calls("claude")] == ["replayed"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"claude": {}}'])
async def test_a_broken_state_file_is_left_behind(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    async with open_playground(sandbox_state=str(path)) as sandbox:
        assert await sandbox.campaigns("claude") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_answers_its_probes_and_ends_at_once(number: signal.Signals) -> None:
    port = unused_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.sandbox", cwd=REPO, env={**os.environ, "PORT": str(port)},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:
            await _ready(session, f"http://127.0.0.1:{port}")
            slow = {"latency_ms": 60_000}
            await session.put(f"http://127.0.0.1:{port}/_control/claude", json=slow)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /claude/v1/campaigns/1 HTTP/1.1\r\nHost: x\r\n\r\n")
            await writer.drain()
            await _ready(session, f"http://127.0.0.1:{port}")
            process.send_signal(number)
            async with asyncio.timeout(5):
                assert await process.wait() == 0
                assert await reader.read() == b""
            writer.close()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _ready(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with session.get(f"{url}/readyz") as answer:
                    assert answer.status == 200
                async with session.get(f"{url}/healthz") as answer:
                    assert answer.status == 200
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
