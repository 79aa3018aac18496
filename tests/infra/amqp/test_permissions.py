"""The broker's users: what an operator imports, and that it lets them in and keeps them out."""

import asyncio
import base64
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import ProbableAuthenticationError
from yarl import URL

from events import EVENT_TYPES, INGRESS_EVENTS, UPSTREAM_EVENTS
from events.envelope import Event
from infra.amqp import topology
from infra.amqp.management_api import ManagementApiError
from infra.amqp.permissions import (
    CONSOLE_USER,
    INGRESS_USER,
    OPS_USER,
    UPSTREAM_USER,
    WORKERS_USER,
    broker_users,
    definitions,
    hash_password,
    topic_pattern,
)
from infra.commands.migrate import declare_topology
from infra.settings import Settings
from schemas.types import PLATFORMS
from tests.fork_server import run_module
from tests.services import Services, url_as


async def printed(*words: str) -> tuple[int, Any, str]:
    command = ("infra.commands", "broker", "permissions", *words)
    done = await asyncio.to_thread(run_module, *command, env=os.environ)
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


async def test_without_passwords_nobody_is_made_and_everybody_is_permitted() -> None:
    status, printed_definitions, _ = await printed("--vhost", "production")
    assert status == 0
    assert printed_definitions == definitions("production")
    assert printed_definitions["users"] == []
    assert {entry["user"] for entry in printed_definitions["permissions"]} == {
        INGRESS_USER,
        CONSOLE_USER,
        WORKERS_USER,
        UPSTREAM_USER,
        OPS_USER,
    }
    assert {entry["vhost"] for entry in printed_definitions["permissions"]} == {"production"}


async def test_permissions_come_in_a_part_of_their_own_and_name_only_exchanges_of_the_other() -> (
    None
):
    _, resources, _ = await printed("--vhost", "production", "--part", "resources")
    _, permissions, _ = await printed("--vhost", "production", "--part", "permissions")
    assert resources | permissions == definitions("production")
    assert permissions.keys() == {"permissions", "topic_permissions"}
    named = {entry["exchange"] for entry in permissions["topic_permissions"]}
    assert {entry["name"] for entry in resources["exchanges"]} == named


async def test_a_fresh_vhost_has_the_exchanges_that_the_release_declares(
    services: Services,
) -> None:
    vhost = f"test_{services.session}_fresh"
    services.create_vhost(vhost)  # which imports the definitions
    try:
        found = services.operator.call("GET", "exchanges", vhost)
        durable = {entry["name"] for entry in found if entry["durable"]}
        assert durable >= {topology.EVENTS_EXCHANGE, topology.REQUEST_EXCHANGE}
        await declare_topology(url_as(OPS_USER, services.rabbitmq_url(vhost)))
    finally:
        services.operator.delete_vhost(vhost)


def test_a_refusal_of_the_broker_has_its_own_reason(services: Services) -> None:
    body = {"exchange": "amq.topic", "write": ".*", "read": ".*"}
    with pytest.raises(
        ManagementApiError, match="400 bad_request: vhost_or_user_not_found"
    ) as printed_definitions:
        services.operator.call("PUT", "topic-permissions", "no such vhost", OPS_USER, body=body)
    assert printed_definitions.value.status == 400
    assert "\n" not in str(printed_definitions.value)


async def test_passwords_leave_as_salted_hashes_alone(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    file.write_text(f"{UPSTREAM_USER}='s3cret-ü'\n{OPS_USER}='other'\n")
    _, printed_definitions, _ = await printed("--passwords", str(file))
    assert [user["name"] for user in printed_definitions["users"]] == [UPSTREAM_USER, OPS_USER]
    assert "s3cret" not in json.dumps(printed_definitions)
    stored = base64.b64decode(printed_definitions["users"][0]["password_hash"])
    assert hashlib.sha256(stored[:4] + "s3cret-ü".encode()).digest() == stored[4:]
    assert hash_password("x") != hash_password("x")


async def test_a_misspelt_user_is_named(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    file.write_text("adrelay-worker='x'\n")
    status, _, error = await printed("--passwords", str(file))
    assert status == 2
    assert "adrelay-worker" in error


async def test_a_user_of_the_definitions_logs_in_with_its_password_and_no_other(
    services: Services, settings: Settings
) -> None:
    url = URL(settings.rabbitmq_url.get_secret_value())
    body = definitions(url.path.strip("/"))
    name = f"{UPSTREAM_USER}-{services.session}"
    user = {"name": name, "password_hash": hash_password("pä$$"), "tags": ""}
    body["users"] = [{**user, "hashing_algorithm": "rabbit_password_hashing_sha256"}]
    body["permissions"].append({**body["permissions"][2], "user": name})
    services.operator.import_definitions(body)
    try:
        own = url.with_user(name)
        async with await aio_pika.connect(own.with_password("pä$$"), timeout=10):
            pass
        with pytest.raises(ProbableAuthenticationError):
            await aio_pika.connect(own.with_password("pass"), timeout=10)
        # Without the user among them, definitions renew what it may do and leave it its password.
        services.operator.import_definitions({**body, "users": []})
        async with await aio_pika.connect(own.with_password("pä$$"), timeout=10):
            pass
    finally:
        services.operator.call("DELETE", "users", name)


@pytest.mark.parametrize("events", [UPSTREAM_EVENTS, INGRESS_EVENTS, tuple(EVENT_TYPES.values())])
def test_topics_are_the_keys_of_the_events_and_no_others(events: tuple[type[Event], ...]) -> None:
    # Python calls the end of the text \Z, the broker \z.
    pattern = re.compile(topic_pattern(events).replace(r"\z", r"\Z"))
    for kind, event in EVENT_TYPES.items():
        assert bool(pattern.search(kind)) == (event in events)
        for platform in PLATFORMS:
            allowed = event in events and event.routed_by_platform
            assert bool(pattern.search(f"{kind}.{platform}")) == allowed
        for wrong in (f"x.{kind}", f"{kind}\n", f"{kind}.other", f"{kind}.claude.x", kind.upper()):
            assert not pattern.search(wrong)


def test_nobody_but_the_release_step_may_declare() -> None:
    assert {user.name for user in broker_users() if user.configure != "^$"} == {OPS_USER}
    assert {user.name for user in broker_users() if user.tags} == {OPS_USER}
