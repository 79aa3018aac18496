"""``adrelay topology``: a damaged broker is described in words, and mended where that is safe."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aio_pika
import pytest
from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel
from pydantic import SecretStr
from yarl import URL

from infra.amqp import permissions, topology, topology_declaration
from infra.amqp.policies import EVENT_LOG_POLICY, FOREIGN_QUEUE_POLICY
from infra.commands.migrate import declare_topology
from infra.deploy.services.threads import run_in_thread
from infra.settings import Settings
from tests.fork_server import run_module
from tests.infra.ledger import QUEUE
from tests.services import TESTER, Services, environment, url_as

REPORTED = "campaign.metrics_reported.v1.#"
Damage = Callable[[AbstractChannel], Awaitable[object]]


def vhost_of(settings: Settings) -> str:
    return URL(settings.rabbitmq_url.get_secret_value()).path.strip("/")


def run(settings: Settings, *words: str, management_url: str | None = None) -> tuple[int, str, str]:
    variables = dict(environment(settings))
    if management_url is not None:
        variables["RABBITMQ_MANAGEMENT_URL"] = management_url
    done = run_module("infra.commands", "topology", *words, env=variables)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def run_json(settings: Settings, *words: str, **more: str) -> tuple[int, list[dict[str, Any]]]:
    status, printed, _ = run(settings, *words, "--json", **more)
    return status, [json.loads(line) for line in printed.splitlines()]


@pytest.fixture
async def channel(settings: Settings) -> AsyncIterator[AbstractChannel]:
    url = url_as(TESTER, settings.rabbitmq_url)
    async with await aio_pika.connect(url, timeout=10) as broker, broker.channel() as channel:
        yield channel


@pytest.fixture
def admin(services: Services) -> str:
    """The management API for an administrator."""
    own = URL(services.management_url())
    password = services.directory.passwords()["RABBITMQ_OPERATOR_PASSWORD"]
    return str(own.with_user("operator").with_password(password))


@pytest.fixture
def _mended(services: Services, settings: Settings) -> Iterator[None]:
    """Give the vhost back as it was."""
    yield
    vhost, operator = vhost_of(settings), services.operator
    for kind, ours in (
        ("queues", {queue.name for queue in topology_declaration.queues()}),
        ("exchanges", {exchange.name for exchange in topology_declaration.exchanges()}),
    ):
        for entry in operator.call("GET", kind, vhost):
            if (entry["name"] and not entry["name"].startswith("amq.")) or entry["name"] in ours:
                operator.call("DELETE", kind, vhost, entry["name"])
    for policy in operator.call("GET", "policies", vhost):
        operator.call("DELETE", "policies", vhost, policy["name"])
    operator.import_definitions(permissions.definitions(vhost))
    release = url_as(permissions.OPS_USER, settings.rabbitmq_url)
    run_in_thread(lambda: declare_topology(release))


def unbind(exchange: str, queue: str, key: str) -> Damage:
    async def act(channel: AbstractChannel) -> None:
        await (await channel.get_queue(queue)).unbind(exchange, key)

    return act


async def detach_work(channel: AbstractChannel) -> None:
    work = await channel.get_exchange(topology.WORK_EXCHANGE)
    await work.unbind(topology.EVENTS_EXCHANGE, "#")


async def make_classic(channel: AbstractChannel) -> None:
    await channel.queue_delete("auth.register.dead")
    queue = await channel.declare_queue(
        "auth.register.dead", durable=True, arguments={"x-max-length": 5}
    )
    await queue.bind(topology.DEAD_LETTER_EXCHANGE, "auth.register")


async def make_fanout(channel: AbstractChannel) -> None:
    await channel.exchange_delete("adrelay.retry.1s")
    await channel.declare_exchange("adrelay.retry.1s", ExchangeType.TOPIC, durable=True)


async def bind_more(channel: AbstractChannel) -> None:
    await (await channel.get_queue("sync.claude")).bind(topology.WORK_EXCHANGE, "campaign.#")


async def listen_to_logins(channel: AbstractChannel) -> None:
    queue = await channel.declare_queue("listener", durable=True)
    await queue.bind(topology.REQUEST_EXCHANGE, "#")


# What is done to the broker, the words that must describe it, and whether apply mends it.
DAMAGES: tuple[tuple[Damage, str, bool], ...] = (
    (
        unbind(topology.WORK_EXCHANGE, QUEUE, REPORTED),
        f"queue {QUEUE} lacks the binding {REPORTED} on adrelay.work",
        True,
    ),
    (detach_work, "exchange adrelay.work lacks the binding # on adrelay.events", True),
    (lambda c: c.queue_delete("sync.gemini"), "queue sync.gemini is missing", True),
    (lambda c: c.queue_delete(topology.EVENT_LOG), "queue adrelay.history is missing", True),
    (
        lambda c: c.exchange_delete(topology.RETURN_EXCHANGE),
        "exchange adrelay.back is missing",
        True,
    ),
    (
        lambda c: c.exchange_delete("adrelay.retry.5s"),
        "queue adrelay.retry.5s lacks the binding (empty) on adrelay.retry.5s",
        True,
    ),
    (
        make_classic,
        (
            "queue auth.register.dead has other arguments: x-delivery-limit none instead of"
            " 1000000, x-max-length 5 instead of none, x-queue-type classic instead of quorum:"
            " cannot be changed in place"
        ),
        False,
    ),
    (
        make_fanout,
        (
            "exchange adrelay.retry.1s has other properties: type topic instead of fanout: cannot"
            " be changed in place"
        ),
        False,
    ),
    (bind_more, "queue sync.claude has the binding campaign.# on adrelay.work: Adrelay", False),
    (
        listen_to_logins,
        "queue listener has the binding # on adrelay.requests: only Adrelay's own queues",
        False,
    ),
    (
        lambda c: c.declare_queue("metrics.old", durable=True),
        "queue metrics.old has a name like Adrelay's and is not in the topology (0 messages)",
        False,
    ),
)


def test_a_whole_topology_differs_in_nothing(settings: Settings, admin: str) -> None:
    status, printed, error = run(settings, "diff", management_url=admin)
    assert (status, printed, error) == (0, "the broker has what the topology names\n", "")
    assert run(settings, "apply", management_url=admin)[0] == 0


@pytest.mark.usefixtures("_mended")
async def test_every_damage_is_described_and_mended_where_that_is_safe(
    settings: Settings, channel: AbstractChannel
) -> None:
    for damage, _, _ in DAMAGES:
        await damage(channel)
    status, found = run_json(settings, "diff")
    assert status == 1
    for _, words, safe in DAMAGES:
        described = [line for line in found if line["words"].startswith(words)]
        assert len(described) == 1, words
        assert described[0]["safe"] is safe
        assert bool(described[0]["way_out"]) is not safe
    status, printed, _ = run(settings, "apply", "--yes")
    assert status == 1
    assert f"done: queue {QUEUE} lacks the binding" in printed
    assert "requeue-unrouted" in printed
    status, remaining = run_json(settings, "diff")
    assert status == 1
    dangerous = {line["words"] for line in found if not line["safe"]}
    assert {line["words"] for line in remaining} == dangerous


@pytest.mark.usefixtures("_mended")
async def test_apply_asks_and_changes_nothing_without_an_answer(
    settings: Settings, channel: AbstractChannel
) -> None:
    await channel.queue_delete(QUEUE)
    status, printed, error = run(settings, "apply")
    assert status == 1
    assert f"queue {QUEUE} is missing" in printed
    assert "safe changes?" in error
    assert run(settings, "diff")[0] == 1


@pytest.mark.usefixtures("_mended")
def test_policies_are_compared_and_mended(services: Services, settings: Settings) -> None:
    vhost, operator = vhost_of(settings), services.operator
    operator.call("DELETE", "policies", vhost, FOREIGN_QUEUE_POLICY)
    limit = {"pattern": "^metrics", "definition": {"max-length": 5}, "apply-to": "queues"}
    operator.call("PUT", "policies", vhost, "limit", body=limit | {"priority": 3})
    _, found = run_json(settings, "diff")
    words = [line["words"] for line in found]
    assert f"policy {FOREIGN_QUEUE_POLICY} is missing" in words
    assert f"policy limit applies to queue {QUEUE} and sets max-length 5" in words
    assert run(settings, "apply", "--yes")[0] == 1  # the other policy is a person's decision
    names = [policy["name"] for policy in operator.call("GET", "policies", vhost)]
    assert sorted(names) == [EVENT_LOG_POLICY, FOREIGN_QUEUE_POLICY, "limit"]


@pytest.mark.usefixtures("_mended")
def test_an_administrator_sees_and_mends_permissions(
    services: Services, settings: Settings, admin: str
) -> None:
    vhost, operator = vhost_of(settings), services.operator
    workers, ingress = permissions.WORKERS_USER, permissions.INGRESS_USER
    less = {"configure": "^$", "write": r"^(adrelay\.events|x)\z", "read": ".*"}
    operator.call("PUT", "permissions", vhost, workers, body=less)
    operator.call("DELETE", "topic-permissions", vhost, ingress)
    _, found = run_json(settings, "diff", management_url=admin)
    words = " ".join(line["words"] for line in found)
    assert f"user {workers} may not write adrelay.back, adrelay.dead" in words
    assert "and may write x as well" in words
    assert f"user {ingress} may publish every type to adrelay.events" in words
    assert run(settings, "apply", "--yes", management_url=admin)[0] == 0
    assert run(settings, "diff", management_url=admin)[0] == 0


def test_who_may_not_see_permissions_is_told_so(settings: Settings) -> None:
    status, printed, error = run(settings, "diff")
    assert (status, printed) == (0, "the broker has what the topology names\n")
    assert "users and permissions were not compared" in error
    assert "Not administrator" in error


def test_what_is_there_is_shown_part_by_part(settings: Settings) -> None:
    status, printed, _ = run(settings, "show")
    line = next(line for line in printed.splitlines() if line.startswith(f"queue {QUEUE} "))
    assert status == 0
    assert "quorum, 0 messages, 0 consumers" in line
    assert f"adrelay.work ({REPORTED}), adrelay.back ({QUEUE})" in line
    assert line.endswith("ok")
    _, parts = run_json(settings, "show")
    assert {part["part"] for part in parts} >= {f"queue {q}" for q in topology.WORK_QUEUE_NAMES}


def test_exported_definitions_make_the_whole_topology_on_an_empty_vhost(
    services: Services, settings: Settings, admin: str
) -> None:
    vhost = f"{vhost_of(settings)}_export"
    status, printed, _ = run(settings, "export", "--vhost", vhost)
    assert status == 0
    assert "password_hash" not in printed
    definitions = json.loads(printed)
    assert list(definitions).index("exchanges") < list(definitions).index("topic_permissions")
    operator = services.operator
    operator.create_vhost(vhost)
    try:
        operator.call("POST", "definitions", body=definitions)
        elsewhere = URL(settings.rabbitmq_url.get_secret_value()).with_path(f"/{vhost}")
        other = settings.model_copy(update={"rabbitmq_url": SecretStr(str(elsewhere))})
        assert run(other, "diff", management_url=admin)[:2] == (
            0,
            "the broker has what the topology names\n",
        )
    finally:
        operator.delete_vhost(vhost)


def test_without_a_management_api_it_is_one_sentence(settings: Settings) -> None:
    status, printed, error = run(settings, "diff", management_url="http://127.0.0.1:1")
    assert (status, printed, len(error.splitlines())) == (1, "", 1)
