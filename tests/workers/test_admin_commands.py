"""Admins' orders, taken by the auth worker as a process of its own over the real broker."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from aio_pika.abc import AbstractConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import ApiKeyCreateRequested, ApiKeyRevokeRequested, UserRoleChangeRequested
from events.envelope import Event, new_id
from events.sources import API_SOURCE
from infra.amqp import topology
from infra.amqp.message import build_message
from infra.amqp.permissions import INGRESS_USER
from infra.amqp.rpc import RpcClient
from infra.security.sealed_box import encrypt_payload
from infra.settings import Settings
from infra.storage.users import UserRow, insert_users
from schemas.users import Role, User
from tests.processes import running
from tests.services import as_user

MODULE = "workers.auth"
DRAFT = {"name": "crm", "scopes": ["events:publish"], "sources": ["urn:acme:crm"]}


async def accounts(engine: AsyncEngine, *roles: Role) -> Sequence[UUID]:
    users = [User(id=uuid4(), email=f"{uuid4().hex}@example.com", role=role) for role in roles]
    async with engine.begin() as tx:
        await insert_users(tx, [UserRow(user, "no password") for user in users])
    return [user.id for user in users]


async def ask(
    requester: RpcClient, settings: Settings, kind: type[Event], body: Any, actor: UUID | None
) -> dict[str, Any]:
    """Ask as the ingress does, in the name of an account."""
    event_id = new_id()
    client = {"address": "203.0.113.9", "account": None if actor is None else str(actor)}
    box = encrypt_payload(
        settings.seal_public_key or "",
        {"body": body, "client": client},
        purpose=kind.event_type(),
        request_id=event_id,
        lifetime=timedelta(seconds=30),
    )
    event = kind(id=event_id, source=API_SOURCE, type=kind.event_type(), data={"sealed": box})
    message = build_message(event, topology.REQUEST_EXCHANGE)
    return await requester.call(message, 20)


async def rows(engine: AsyncEngine, sql: str) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(sql))).all())


async def test_a_key_is_in_the_direct_answer_and_in_no_log_queue_or_table(
    settings: Settings, engine: AsyncEngine, broker: AbstractConnection
) -> None:
    (admin,) = await accounts(engine, "admin")
    loud = settings.model_copy(update={"log_level": "DEBUG"})
    async with (
        broker.channel() as channel,
        RpcClient(as_user(INGRESS_USER, settings), "test") as requester,
        running(MODULE, loud) as worker,
    ):
        spy = await channel.declare_queue(exclusive=True)
        for exchange in (topology.EVENTS_EXCHANGE, topology.REQUEST_EXCHANGE):
            await spy.bind(exchange, "#")
        made = await ask(requester, settings, ApiKeyCreateRequested, DRAFT, admin)
        ref = {"id": made["data"]["id"]}
        revoked = await ask(requester, settings, ApiKeyRevokeRequested, ref, admin)
        await worker.stop()
        log = worker.output
        seen = [(await spy.get(no_ack=True)).body for _ in range(2)]
    assert (made["status"], revoked["status"]) == (201, 204)
    stored = await rows(
        engine,
        "select k::text from api_keys k union all select a::text from audit a"
        " union all select encode(body, 'escape') from outbox",
    )
    assert "started" in log
    assert len(stored) == 5
    secret = made["data"]["key"].removeprefix(made["data"]["prefix"])
    assert secret not in f"{log} {seen!r} {stored!r}"


@pytest.mark.parametrize("role", ["manager", "viewer", None])
async def test_nobody_but_an_admin_gives_orders_whatever_the_ingress_accepted(
    settings: Settings, engine: AsyncEngine, role: Role | None
) -> None:
    admin, *others = await accounts(engine, "admin", *([role] if role else []))
    actor = others[0] if others else None
    orders: Sequence[tuple[type[Event], Any]] = (
        (ApiKeyCreateRequested, DRAFT),
        (ApiKeyRevokeRequested, {"id": str(uuid4())}),
        (UserRoleChangeRequested, {"id": str(admin), "role": "viewer"}),
    )
    async with (
        RpcClient(as_user(INGRESS_USER, settings), "test") as requester,
        running(MODULE, settings),
    ):
        answers = [await ask(requester, settings, kind, body, actor) for kind, body in orders]
    assert [(a["status"], a["error"]["code"]) for a in answers] == [(403, "FORBIDDEN")] * 3
    assert await rows(engine, "select 1 from api_keys") == []
    assert await rows(engine, "select role from users where role = 'admin'") == [("admin",)]
    noted = await rows(engine, "select outcome, actor, address from audit")
    assert noted == [("FORBIDDEN", actor, "203.0.113.9")] * 3


async def test_two_workers_take_orders_one_after_the_other_and_leave_an_admin(
    settings: Settings, engine: AsyncEngine
) -> None:
    roles: list[Role] = ["admin"] * 8
    admins = await accounts(engine, *roles)
    async with (
        RpcClient(as_user(INGRESS_USER, settings), "test") as requester,
        running(MODULE, settings),
        running(MODULE, settings),
    ):
        answers = await asyncio.gather(
            *(
                ask(
                    requester,
                    settings,
                    UserRoleChangeRequested,
                    {"id": str(other), "role": "manager"},
                    actor,
                )
                for actor, other in zip(admins, [*admins[1:], admins[0]], strict=True)
            )
        )
    statuses = [answer["status"] for answer in answers]
    assert set(statuses) <= {200, 403, 409}
    left = await rows(engine, "select count(*) from users where role = 'admin'")
    assert left == [(8 - statuses.count(200),)]
    assert left[0][0] >= 1
