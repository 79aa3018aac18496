"""The audit log over HTTP."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from events import AuditRecorded
from events.audit import AuditRecordedData
from infra.storage.audit import insert_audit_entries
from tests.workers.ingress.conftest import Person, body_of, error_of

PATH = "/api/v1/audit"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ADA, BOB = uuid4(), uuid4()
# Who did what, what came of it, and how many minutes after noon.
ACTS: Sequence[tuple[UUID | None, str, str, int]] = (
    (ADA, "login", "ok", 0),
    (None, "login", "INVALID_CREDENTIALS", 1),
    (ADA, "api_key.create", "ok", 2),
    (BOB, "api_key.create", "FORBIDDEN", 3),
    (BOB, "login", "ok", 4),
)


@pytest.fixture(autouse=True)
async def _acts(engine: AsyncEngine) -> None:
    acts = [
        AuditRecorded(
            time=NOON + timedelta(minutes=minutes),
            correlationid=f"r-{minutes}",
            data=AuditRecordedData(
                action=action,
                outcome=outcome,
                actor=actor,
                subject=f"s-{minutes}",
                address="203.0.113.9",
                device="a browser",
            ),
        )
        for actor, action, outcome, minutes in ACTS
    ]
    async with engine.begin() as tx:
        await insert_audit_entries(tx, acts)


async def listed(client: aiohttp.ClientSession, admin: Person, **query: str) -> Any:
    return await body_of(await client.get(PATH, headers=admin.headers, params=query), 200)


async def test_an_act_tells_who_what_where_when_and_what_came_of_it(
    client: aiohttp.ClientSession, admin: Person
) -> None:
    act = (await listed(client, admin))["data"][1]
    assert UUID(act.pop("id"))
    assert act == {
        "at": "2026-11-22T12:03:00Z",
        "action": "api_key.create",
        "outcome": "FORBIDDEN",
        "actor": str(BOB),
        "subject": "s-3",
        "address": "203.0.113.9",
        "device": "a browser",
        "correlation_id": "r-3",
    }


@pytest.mark.parametrize(
    ("query", "minutes"),
    [
        ({}, [4, 3, 2, 1, 0]),
        ({"actor": str(ADA)}, [2, 0]),
        ({"action": "login"}, [4, 1, 0]),
        ({"outcome": "ok"}, [4, 2, 0]),
        ({"outcome": "ok", "action": "login", "actor": str(BOB)}, [4]),
        ({"from": "2026-11-22T12:03:00Z"}, [4, 3]),
        ({"to": "2026-11-22T13:03:00+01:00"}, [2, 1, 0]),
        ({"from": "2026-11-22T12:01:00Z", "to": "2026-11-22T12:03:00Z"}, [2, 1]),
        ({"actor": str(uuid4())}, []),
        ({"page": "2", "per_page": "2"}, [2, 1]),
    ],
)
async def test_acts_are_listed_the_newest_first_and_by_what_is_asked_for(
    client: aiohttp.ClientSession, admin: Person, query: dict[str, str], minutes: list[int]
) -> None:
    found = await listed(client, admin, **query)
    assert [act["subject"] for act in found["data"]] == [f"s-{number}" for number in minutes]
    if "page" in query:
        assert found["pagination"] == {
            "total": 5,
            "page": 2,
            "per_page": 2,
            "total_pages": 3,
            "has_next": True,
            "has_prev": True,
        }


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"actor": "ada"}, "actor"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-11-22T12:00:00"}, "from"),
        ({"to": "9999-12-31T23:59:59-23:59"}, "to"),
        ({"action": "a\0b"}, "action"),
        ({"outcome": "x" * 101}, "outcome"),
        ({"page": "0"}, "page"),
        ({"per_page": "101"}, "per_page"),
    ],
)
async def test_a_question_that_is_wrong_is_400(
    client: aiohttp.ClientSession, admin: Person, query: dict[str, str], field: str
) -> None:
    response = await client.get(PATH, headers=admin.headers, params=query)
    error = await error_of(response, 400)
    assert [detail["field"] for detail in error["details"]] == [field]
