"""Queues over HTTP: their states, pauses and resumes of admins, and what the audit log says."""

from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.amqp import topology
from infra.amqp.connection import BrokerConnection
from infra.messaging.gauges import export_queue_gauges
from infra.resources import Resources
from infra.storage.pauses import stop_queue
from tests.workers.ingress.conftest import DRAFT, MakeCampaign, Person, body_of, error_of

QUEUES = "/api/v1/queues"
QUEUE = f"{QUEUES}/metrics.record"
PLATFORM = "/api/v1/platforms/claude"
REASON = {"reason": "wrong figures"}


async def acts(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        rows = await connection.execute(text("select action, outcome, subject from audit"))
        return sorted(tuple(row) for row in rows)


async def overview(client: aiohttp.ClientSession, admin: Person) -> Any:
    return (await body_of(await client.get(QUEUES, headers=admin.headers), 200))["data"]


async def test_a_queue_is_paused_listed_and_resumed_and_each_act_is_audited(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine
) -> None:
    paused = await client.post(f"{QUEUE}/pause", json=REASON, headers=admin.headers)
    result = (await body_of(paused, 200))["data"]
    assert (result["kind"], result["name"], result["changed"]) == ("queue", "metrics.record", True)
    again = await client.post(f"{QUEUE}/pause", json={"reason": "x"}, headers=admin.headers)
    second = (await body_of(again, 200))["data"]
    assert second == {**result, "changed": False}
    queues = {queue["name"]: queue for queue in (await overview(client, admin))["queues"]}
    assert queues.keys() == {*topology.WORK_QUEUE_NAMES, "auth.session"}
    assert queues["metrics.record"]["state"] == "paused"
    pause = queues["metrics.record"]["pause"]
    assert (pause["reason"], pause["paused_by"]) == ("wrong figures", f"user:{admin.id}")
    assert queues["sync.claude"]["pause"] is None
    resumed = await client.post(f"{QUEUE}/resume", headers=admin.headers)
    assert (await body_of(resumed, 200))["data"]["changed"]
    resumed = await client.post(f"{QUEUE}/resume", headers=admin.headers)
    assert not (await body_of(resumed, 200))["data"]["changed"]
    name = "metrics.record"
    assert await acts(engine) == [
        *[("queue.pause", "ok", name)] * 2,
        *[("queue.resume", "ok", name)] * 2,
    ]


async def test_what_waits_is_as_the_relay_has_counted_it(
    client: aiohttp.ClientSession, admin: Person, resources: Resources
) -> None:
    before = await overview(client, admin)
    assert before["counted_at"] is None
    assert {queue["state"] for queue in before["queues"]} == {"unknown"}
    link = BrokerConnection(resources.settings, "test")
    try:
        await export_queue_gauges(link, 10, resources.redis)
    finally:
        await link.close()
    after = await overview(client, admin)
    assert after["counted_at"] is not None
    assert {(q["state"], q["ready"], q["consumers"]) for q in after["queues"]} == {("unread", 0, 0)}


async def test_a_platform_and_an_account_are_paused_beside_each_other(
    client: aiohttp.ClientSession,
    admin: Person,
    make_campaign: MakeCampaign,
    engine: AsyncEngine,
) -> None:
    campaign = await make_campaign()
    account = {"account": str(campaign.owner_id)}
    for body in (REASON, REASON | account):
        paused = await client.post(f"{PLATFORM}/pause", json=body, headers=admin.headers)
        assert (await body_of(paused, 200))["data"]["changed"]
    found = await overview(client, admin)
    assert [(p["kind"], p["account"]) for p in found["pauses"]] == [
        ("account", account["account"]),
        ("platform", None),
    ]
    states = {queue["name"]: queue["state"] for queue in found["queues"]}
    assert (states["sync.claude"], states["sync.gemini"]) == ("paused", "unknown")
    resumed = await client.post(f"{PLATFORM}/resume", headers=admin.headers)
    assert (await body_of(resumed, 200))["data"]["account"] is None
    resumed = await client.post(f"{PLATFORM}/resume", json=account, headers=admin.headers)
    assert (await body_of(resumed, 200))["data"]["account"] == account["account"]
    assert (await overview(client, admin))["pauses"] == []
    subjects = [subject for _, _, subject in await acts(engine)]
    named = f"claude:{account['account']}"
    assert sorted(subjects) == sorted([named, named, "claude", "claude"])


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (f"{QUEUES}/metrics.recrod/pause", REASON, 404, "metrics.record"),
        (f"{QUEUES}/metrics.recrod/resume", None, 404, "metrics.record"),
        (f"{QUEUES}/%00%1b/pause", REASON, 404, "queue"),
        (f"{QUEUES}/auth.session/pause", REASON, 409, "503"),
        (f"{QUEUES}/metrics.record.dead/pause", REASON, 409, "dead letters are filed"),
        ("/api/v1/platforms/myspace/pause", REASON, 404, "platform"),
        (f"{PLATFORM}/pause", REASON | {"account": str(uuid4())}, 404, "account"),
        (f"{QUEUE}/pause", {"reason": "  "}, 400, ""),
        (f"{QUEUE}/pause", {"reason": "x" * 501}, 400, ""),
        (f"{QUEUE}/pause", {}, 400, ""),
        (f"{PLATFORM}/pause", REASON | {"account": "me"}, 400, ""),
    ],
)
async def test_what_is_unknown_unpausable_or_without_a_reason_is_refused(
    client: aiohttp.ClientSession,
    admin: Person,
    engine: AsyncEngine,
    path: str,
    body: Any,
    status: int,
    words: str,
) -> None:
    refused = await client.post(path, json=body, headers=admin.headers)
    error = await error_of(refused, status)
    assert words in error["message"]
    async with engine.connect() as connection:
        assert (await connection.execute(text("select count(*) from pauses"))).scalar_one() == 0


async def test_only_who_is_an_admin_now_pauses(
    client: aiohttp.ClientSession, admin: Person, manager: Person, engine: AsyncEngine
) -> None:
    refused = await client.post(f"{QUEUE}/pause", json=REASON, headers=manager.headers)
    assert (await error_of(refused, 403))["code"] == "FORBIDDEN"
    await error_of(await client.get(QUEUES, headers=manager.headers), 403)
    async with engine.begin() as tx:
        demoted = "update users set role = 'manager' where id = :id"
        await tx.execute(text(demoted), {"id": admin.id})
    refused = await client.post(f"{QUEUE}/pause", json=REASON, headers=admin.headers)
    await error_of(refused, 403)
    assert await acts(engine) == [("queue.pause", "FORBIDDEN", "metrics.record")]


async def test_the_ingress_accepts_whatever_is_paused(
    client: aiohttp.ClientSession, admin: Person, manager: Person
) -> None:
    for path in (f"{QUEUES}/campaigns.apply/pause", f"{PLATFORM}/pause"):
        await body_of(await client.post(path, json=REASON, headers=admin.headers), 200)
    headers = manager.headers | {"Idempotency-Key": "k-1"}
    accepted = await client.post("/api/v1/campaigns", json=DRAFT, headers=headers)
    await body_of(accepted, 202)


async def test_control_characters_of_a_reason_stay_escaped(
    client: aiohttp.ClientSession, admin: Person
) -> None:
    body = {"reason": "a\x1b[2Jb\u202ec\x00"}
    paused = await client.post(f"{QUEUE}/pause", json=body, headers=admin.headers)
    result = (await body_of(paused, 200))["data"]
    assert result["pause"]["reason"] == "a\\x1b[2Jb\\u202ec\\x00"


async def test_a_stop_of_the_circuit_breaker_is_listed_and_resumed_too(
    client: aiohttp.ClientSession, admin: Person, engine: AsyncEngine
) -> None:
    async with engine.begin() as tx:
        await stop_queue(tx, "metrics.record", reason="KeyError", version="v1", worker="host")
    queues = {queue["name"]: queue for queue in (await overview(client, admin))["queues"]}
    assert queues["metrics.record"]["state"] == "stopped"
    assert queues["metrics.record"]["pause"]["code_version"] == "v1"
    resumed = await client.post(f"{QUEUE}/resume", headers=admin.headers)
    assert (await body_of(resumed, 200))["data"] == {
        "kind": "queue",
        "name": "metrics.record",
        "account": None,
        "changed": True,
        "pause": None,
    }
