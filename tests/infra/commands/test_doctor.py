"""``adrelay doctor``: a healthy system is ok, and each bad condition is named with what to do."""

import asyncio
import json
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from events.envelope import now
from infra.amqp import permissions, topology
from infra.commands.doctor.broker_checks import judge_clock
from infra.commands.doctor.checks import CHECKS, list_secrets
from infra.commands.doctor.database_checks import _judge_sessions, _judge_standbys, _judge_writes
from infra.commands.doctor.finding import Finding, Level
from infra.commands.doctor.redis_checks import _judge_memory
from infra.commands.doctor.topology_checks import _has_reader
from infra.commands.doctor.versions import KNOWN_FAULTS, judge_version, parse_version
from infra.commands.migrate import release
from infra.settings import Settings
from infra.storage.pauses import PauseTarget, pause
from tests.fork_server import run_module
from tests.infra.ledger import QUEUE
from tests.services import Services, as_user, environment

READ = [
    *topology.WORK_QUEUE_NAMES,
    *map(topology.dead_queue, topology.WORK_QUEUE_NAMES),
    *(queue.name for queue in topology.REQUEST_QUEUES),
]
# What the tests' own Postgres leaves out, to be quick: a fault in any other place.
UNSAFE = {("error", "fsync is off"), ("error", "full_page_writes is off")}
UNSAFE |= {("error", "synchronous_commit is off")}
Findings = list[dict[str, str]]


def run(settings: Settings, *words: str, **more: str) -> tuple[int, Findings]:
    variables = {**environment(settings), **more}
    words = ("doctor", "--json", "--timeout", "30", *words)
    done = run_module("infra.commands", *words, env=variables)
    assert "Traceback" not in done.stderr, done.stderr
    assert not [secret for secret in list_secrets(settings) if secret in done.stdout + done.stderr]
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def bad(findings: Findings) -> set[tuple[str, str]]:
    """List what is worse than a note, but for what the tests' Postgres leaves out."""
    found = {(line["level"], line["found"]) for line in findings}
    return {pair for pair in found - UNSAFE if pair[0] in ("warning", "error")}


def about(findings: Findings, check: str) -> str:
    return "\n".join(f"{f['level']}: {f['found']}" for f in findings if f["check"] == check)


@pytest.fixture
def ops(settings: Settings) -> Settings:
    """The settings of the release step, which the command takes."""
    return as_user(permissions.OPS_USER, settings)


async def ignore(_: AbstractIncomingMessage) -> None:
    """Leave a message unacknowledged."""


@asynccontextmanager
async def reading(broker: AbstractConnection) -> AsyncIterator[None]:
    """Consume every queue that a worker reads."""
    async with AsyncExitStack() as held:
        channel: AbstractChannel = await held.enter_async_context(broker.channel())  # type: ignore[arg-type]
        await channel.set_qos(prefetch_count=1)
        for name in READ:
            queue = await channel.get_queue(name, ensure=False)
            await queue.consume(ignore)
        yield


async def test_a_healthy_system_is_ok_in_every_check(
    ops: Settings, broker: AbstractConnection, services: Services
) -> None:
    own = URL(services.management_url()).with_user("operator")
    password = services.directory.passwords()["RABBITMQ_OPERATOR_PASSWORD"]
    admin = {"RABBITMQ_MANAGEMENT_URL": str(own.with_password(password))}
    await release(ops)
    async with reading(broker):
        status, findings = await asyncio.to_thread(
            run, ops, BACKUP_MAX_AGE="1D", HISTORY_MAX_AGE="7D", **admin
        )
    assert bad(findings) == set()
    assert {line["check"] for line in findings} >= {*CHECKS, "versions", "permissions"}
    for line in findings:
        told = line["why"] and line["action"]
        assert line["level"] == "ok" or told or line["found"].startswith("not checked: "), line
    assert status == 3  # of fsync


def test_every_queue_of_the_topology_with_a_worker_is_expected_to_be_read() -> None:
    assert [name for name in READ if not _has_reader(name)] == []
    assert not _has_reader("adrelay.retry.5m")


PARKED = text("""
    insert into outbox (exchange, routing_key, message_id, properties, body, parked_reason)
    values ('e', 'k', 'm', '{}', '', 'no such exchange')
""")
OLD_LETTER = text("""
    insert into dead_letters (id, queue, routing_key, body, properties, reason, error_class, stage,
        worker, attempts, first_failed_at, last_failed_at, fingerprint)
    values (gen_random_uuid(), 'q', 'k', '', '{}', 'r', 'c', 'p', 'w', 1,
        now() - interval '40 days', now(), 'f')
""")


@contextmanager
def read_only(services: Services, settings: Settings) -> Iterator[None]:
    """Let the database take no writes for the length of a block."""
    name = URL(settings.database_url.get_secret_value()).path.strip("/")
    services.execute(f"alter database {name} set default_transaction_read_only = on")
    try:
        yield
    finally:
        services.execute(f"alter database {name} reset default_transaction_read_only")


async def test_each_bad_condition_is_found_beside_the_others(
    ops: Settings, broker: AbstractConnection, engine: AsyncEngine, services: Services
) -> None:
    await release(ops)
    async with engine.begin() as tx:
        await tx.execute(PARKED)
        await tx.execute(OLD_LETTER)
        await pause(tx, PauseTarget("platform", "claude"), reason="maintenance", paused_by="ada")
        await tx.execute(text("update alembic_version set version_num = '0001'"))
    async with broker.channel() as channel:
        queue = await channel.get_queue(QUEUE)
        await queue.unbind(topology.WORK_EXCHANGE, "campaign.metrics_reported.v1.#")
        unrouted = await channel.get_exchange(topology.UNROUTED)
        await unrouted.publish(aio_pika.Message(b"{}"), "x.y.v1")
    try:
        with read_only(services, ops):
            status, findings = await asyncio.to_thread(run, ops)
    finally:
        async with engine.begin() as tx:
            await tx.execute(text("update alembic_version set version_num = '0002'"))
        async with broker.channel() as channel:
            queue = await channel.get_queue(QUEUE)
            await queue.bind(topology.WORK_EXCHANGE, "campaign.metrics_reported.v1.#")
    assert status == 3
    assert "error: it takes no writes: default_transaction_read_only" in about(findings, "postgres")
    found = about(findings, "migrations")
    assert re.search(r"at revision 0001, the code at 0\d\d\d", found)
    assert not found.endswith("0001")
    assert f"error: queue {QUEUE} lacks the binding" in about(findings, "topology")
    assert f"no worker reads {READ[0]}" in about(findings, "consumers").replace(".dead", "")
    assert "warning: adrelay.unrouted holds 1 messages" in about(findings, "consumers")
    assert "platform claude is paused since" in about(findings, "pauses")
    assert "by ada: maintenance" in about(findings, "pauses")
    assert "warning: 1 rows of the outbox are parked" in about(findings, "outbox")
    assert "1 open dead letters are older" in about(findings, "dead letters")
    assert "not checked" in about(findings, "permissions")


async def test_what_cannot_be_reached_is_an_error_and_stops_no_other_check(ops: Settings) -> None:
    nowhere = "127.0.0.1:1"
    status, findings = run(
        ops,
        RABBITMQ_URL=f"amqp://ada:s3cret-broker@{nowhere}/v",
        RABBITMQ_MANAGEMENT_URL=f"http://ada:s3cret-api@{nowhere}",
        DATABASE_URL=f"postgresql://ada:s3cret-db@{nowhere}/adrelay",
        REDIS_URL=f"redis://:s3cret-redis@{nowhere}/0",
    )
    assert status == 3
    assert "s3cret" not in str(findings)
    for check in ("rabbitmq", "management", "postgres", "redis"):
        assert about(findings, check).startswith("error: "), check
    for check in ("topology", "migrations", "consumers", "pauses", "alarms", "clocks"):
        assert about(findings, check).startswith("note: not checked"), check
    assert about(findings, "settings").startswith("ok")


def test_a_refused_password_is_named_and_not_shown(ops: Settings) -> None:
    url = URL(ops.rabbitmq_url.get_secret_value()).with_password("wrong-pass")
    management = URL(str(ops.rabbitmq_management_url.get_secret_value()))  # type: ignore[union-attr]
    status, findings = run(
        ops,
        RABBITMQ_URL=str(url),
        RABBITMQ_MANAGEMENT_URL=str(management.with_password("wrong-pass")),
    )
    assert status == 3
    assert "ACCESS_REFUSED" in about(findings, "rabbitmq")
    assert "401" in about(findings, "management")
    assert "wrong-pass" not in str(findings)


def test_an_invalid_setting_is_the_one_finding(ops: Settings) -> None:
    status, findings = run(ops, INBOX_DAYS="none")
    assert (status, len(findings)) == (3, 1)
    assert "INBOX_DAYS" in findings[0]["found"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that is valid for three days, with its key."""
    openssl = shutil.which("openssl")
    assert openssl
    words = ["req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "3", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([openssl, *words, *files], check=True, capture_output=True)  # noqa: S603 - openssl
    return tmp_path


@pytest.fixture
async def tls_port(certificate: Path) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.close()

    server = await asyncio.start_server(answer, "localhost", ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_settings_that_do_not_fit_and_expiring_certificates_are_found(
    ops: Settings, certificate: Path, tls_port: int
) -> None:
    status, findings = await asyncio.to_thread(
        run,
        ops,
        INBOX_DAYS="3",
        BACKUP_MAX_AGE="8D",
        GEMINI_WEBHOOK_SECRET="",
        PUBLIC_URL="http://adrelay.example",
        MAX_EVENT_BYTES=str(17 * 1024 * 1024),
        MAX_BODY_BYTES=str(17 * 1024 * 1024),
        RABBITMQ_URL=f"{ops.rabbitmq_url.get_secret_value()}"
        f" amqps://a:b@localhost:{tls_port}/v?cafile={certificate / 'cert.pem'}",
        CLAUDE_URL=f"https://localhost:{tls_port}/",
    )
    assert status == 3
    found = about(findings, "settings")
    assert "error: INBOX_DAYS (3) is less than HISTORY_MAX_AGE (7D)" in found
    assert "warning: INBOX_DAYS is 3" in found
    assert "error: HISTORY_MAX_AGE (7D) is not more than BACKUP_MAX_AGE (8D)" in found
    assert "note: GEMINI_WEBHOOK_SECRET is empty" in about(findings, "secrets")
    assert "warning: PUBLIC_URL uses http:// to adrelay.example" in found
    found = about(findings, "certificates")
    assert f"error: RABBITMQ_URL (localhost:{tls_port}): expires in 3.0 days" in found
    assert f"error: CLAUDE_URL (localhost:{tls_port}): self-signed certificate" in found
    assert "error: it refuses 17825792 bytes (MAX_EVENT_BYTES)" in about(findings, "message size")


@pytest.mark.parametrize("fault", KNOWN_FAULTS, ids=lambda f: f"{f.product} {f.first} {f.fixed}")
def test_a_known_fault_is_found_in_its_versions_alone(fault: Any) -> None:
    def faults(version: str) -> set[str]:
        found = judge_version(fault.product, version, in_cluster=True)
        return {finding.why for finding in found if finding.level is not Level.OK}

    assert fault.happens in faults(fault.first)
    assert fault.happens not in faults(fault.fixed)
    assert parse_version(fault.first) < parse_version(fault.fixed)


def test_a_fault_of_clusters_is_a_note_on_a_single_server() -> None:
    levels = [
        {f.level for f in judge_version("RabbitMQ", "3.10.8", in_cluster=c)} for c in (False, True)
    ]
    assert levels == [{Level.NOTE}, {Level.NOTE, Level.WARNING}]


@pytest.mark.parametrize(
    ("seconds", "level"),
    [(0, "ok"), (-1.5, "ok"), (6, "warning"), (-8, "warning"), (61, "error"), (-90, "error")],
)
def test_a_clock_that_is_off_is_found(seconds: float, level: str) -> None:
    at = now()
    theirs = at + timedelta(seconds=seconds)
    assert judge_clock("x", theirs, at, at, resolution=1.0).level.word == level


def worst_of(findings: Iterator[Finding]) -> Level:
    return max(finding.level for finding in findings)


SESSIONS: dict[str, Any] = {"allowed": 100, "used": 20, "oldest_transaction": None}
WRITES: dict[str, Any] = {
    "is_standby": False,
    "is_read_only": False,
    "fsync": "on",
    "full_page_writes": "on",
}
WRITES |= {"synchronous_commit": "on"}
MEMORY: dict[str, Any] = {
    "role": "master",
    "maxmemory_policy": "noeviction",
    "maxmemory": 100,
    "used_memory": 50,
}


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({}, Level.OK),
        ({"used": 95}, Level.WARNING),
        ({"oldest_transaction": 700}, Level.WARNING),
    ],
    ids=str,
)
def test_scarce_connections_and_old_transactions_are_found(
    change: dict[str, Any], level: Level
) -> None:
    assert worst_of(_judge_sessions(SESSIONS | change, 10)) is level


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({}, Level.OK),
        ({"is_standby": True}, Level.ERROR),
        ({"fsync": "off"}, Level.ERROR),
        ({"synchronous_commit": "off"}, Level.ERROR),
        ({"synchronous_commit": "local"}, Level.OK),
    ],
    ids=str,
)
def test_a_database_that_loses_or_refuses_writes_is_found(
    change: dict[str, Any], level: Level
) -> None:
    assert worst_of(_judge_writes(WRITES | change)) is level


def test_a_standby_that_lags_is_found() -> None:
    standby: dict[str, Any] = {
        "name": "b",
        "state": "streaming",
        "sync_state": "async",
        "seconds": None,
    }
    assert worst_of(_judge_standbys([standby])) is Level.OK
    assert worst_of(_judge_standbys([standby | {"seconds": 11}])) is Level.WARNING


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({}, Level.OK),
        ({"maxmemory_policy": "allkeys-lru"}, Level.WARNING),
        ({"used_memory": 95}, Level.WARNING),
        ({"role": "slave"}, Level.ERROR),
    ],
    ids=str,
)
def test_a_redis_that_drops_or_refuses_is_found(change: dict[str, Any], level: Level) -> None:
    assert worst_of(_judge_memory(MEMORY | change)) is level
