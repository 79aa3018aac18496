"""Private servers: their processes, ports and passwords."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelPreconditionFailed

from infra.deploy.services import postgres, rabbitmq, redis
from infra.deploy.services.daemon import Daemon, NotStarted
from infra.deploy.services.directories import ServerDirectory, SystemUser
from infra.deploy.services.ports import choose_ports
from infra.deploy.services.prometheus import configuration
from infra.deploy.services.provisioning import start_servers
from infra.process_start import process_start_time
from tests.services import Services

OURSELVES = SystemUser(os.geteuid(), os.getegid(), switches=False)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[ServerDirectory]:
    directory = ServerDirectory(tmp_path / "state")
    directory.prepare()
    yield directory
    directory.remove()


def test_a_daemon_lives_until_it_is_stopped(directory: ServerDirectory) -> None:
    daemon = Daemon(directory, "sleeper")
    daemon.start(["sleep", "300"], OURSELVES, directory.state)
    pid = daemon.pid()
    assert pid is not None

    daemon.stop()

    assert process_start_time(pid) is None
    assert daemon.pid() is None


def test_a_daemon_that_does_not_heed_the_signal_is_killed_with_its_children(
    directory: ServerDirectory,
) -> None:
    daemon = Daemon(directory, "stubborn")
    child = directory.state / "child"
    script = f"trap '' TERM; sleep 300 & echo $! >{child}.new; mv {child}.new {child}; wait; wait"
    daemon.start(["sh", "-c", script], OURSELVES, directory.state)
    daemon.wait_until(child.exists)
    pid = daemon.pid()
    assert pid is not None

    daemon.stop(deadline=0.2)

    assert process_start_time(pid) is None
    end = time.monotonic() + 5
    while process_start_time(int(child.read_text())) is not None:
        assert time.monotonic() < end


def test_a_recycled_process_id_is_not_taken_for_the_daemon(directory: ServerDirectory) -> None:
    (directory.state / "run" / "other.pid").write_text(f"{os.getpid()} 1\n")
    daemon = Daemon(directory, "other")

    assert daemon.pid() is None
    daemon.stop(signal.SIGKILL)


def test_a_daemon_that_ends_at_its_start_is_reported_with_its_log(
    directory: ServerDirectory,
) -> None:
    daemon = Daemon(directory, "broken")
    daemon.start(["sh", "-c", "echo the disk is full; exit 1"], OURSELVES, directory.state)

    with pytest.raises(NotStarted, match=r"(?s)broken ended while it started.*the disk is full"):
        daemon.wait_until(lambda: False)


def test_ports_are_kept_from_start_to_start(directory: ServerDirectory) -> None:
    assert choose_ports(directory) == choose_ports(directory)


def test_ports_are_neither_well_known_nor_above_the_servers_range(
    directory: ServerDirectory,
) -> None:
    ports = asdict(choose_ports(directory)).values()

    assert all(16_384 <= port < 24_576 for port in ports)
    assert len(set(ports)) == len(ports)


def test_a_taken_port_moves_the_place_to_other_ports(directory: ServerDirectory) -> None:
    first = choose_ports(directory)
    with socket.create_server(("127.0.0.1", first.redis)):
        second = choose_ports(directory)

    assert not set(asdict(first).values()) & set(asdict(second).values())


def test_two_places_have_other_ports_and_passwords(tmp_path: Path) -> None:
    one, two = ServerDirectory(tmp_path / "one"), ServerDirectory(tmp_path / "two")
    for directory in (one, two):
        directory.prepare()

    assert one.tag != two.tag
    assert not set(one.passwords().values()) & set(two.passwords().values())
    assert one.passwords() == one.passwords()
    assert (one.state / "passwords.env").stat().st_mode & 0o777 == 0o600


def test_urls_of_the_environment_are_taken_as_they_are(directory: ServerDirectory) -> None:
    given = {
        "RABBITMQ_URL": "amqp://a:b@broker/c",
        "DATABASE_URL": "postgresql://a:b@database/c",
        "REDIS_URL": "redis://cache/0",
    }
    servers = start_servers(directory, given, print)

    # One named user is the only one.
    one = {"UPSTREAM_RABBITMQ_URL": "amqp://a:b@broker/c", "INGRESS_USER": "a", "WORKERS_USER": "a"}
    assert servers.urls == {**given, **one}
    same = {"RABBITMQ_URL": "amqp://a:b@broker/c"}
    assert servers.own == {"web": same, "ops": same, "release": same}
    assert not servers.has_private_broker
    assert not any(Daemon(directory, server.NAME).pid() for server in (rabbitmq, postgres, redis))


def test_the_users_of_a_given_broker_are_told_apart_by_their_urls(
    directory: ServerDirectory,
) -> None:
    given = {
        "RABBITMQ_URL": "amqp://workers:b@broker/c",
        "INGRESS_RABBITMQ_URL": "amqp://web%2F1:b@broker/c amqp://web%2F1:b@other/c",
        "CONSOLE_RABBITMQ_URL": "amqp://console:b@broker/c",
        "UPSTREAM_RABBITMQ_URL": "amqp://crm:b@broker/c",
        "OPS_RABBITMQ_URL": "amqp://ops:b@broker/c",
        "DATABASE_URL": "postgresql://a:b@database/c",
        "REDIS_URL": "redis://cache/0",
    }
    servers = start_servers(directory, given, print)

    assert servers.own["web"] == {"RABBITMQ_URL": given["INGRESS_RABBITMQ_URL"]}
    assert servers.own["release"] == {"RABBITMQ_URL": given["OPS_RABBITMQ_URL"]}
    assert servers.urls["INGRESS_USER"] == "console web/1"
    assert servers.urls["WORKERS_USER"] == "workers"
    assert servers.own["ops"] == {"RABBITMQ_URL": given["CONSOLE_RABBITMQ_URL"]}
    assert servers.urls["UPSTREAM_RABBITMQ_URL"] == given["UPSTREAM_RABBITMQ_URL"]


def test_one_url_may_be_given_and_the_others_private(directory: ServerDirectory) -> None:
    given = {"RABBITMQ_URL": "amqp://a:b@broker/c", "DATABASE_URL": "postgresql://a:b@database/c"}
    servers = start_servers(directory, given, print)
    try:
        assert servers.urls.items() >= given.items()
        assert servers.urls["REDIS_URL"] == redis.url(directory, servers.ports)
        assert redis.is_ready(directory, servers.ports)
        again = start_servers(directory, dict(servers.urls), print)
        assert again.urls == servers.urls
    finally:
        Daemon(directory, redis.NAME).stop()


def test_nobody_gets_in_without_a_password(services: Services) -> None:
    with socket.create_connection(("127.0.0.1", services.ports.redis), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100).startswith(b"-NOAUTH")
    users = [user["name"] for user in services.operator.call("GET", "users")]
    assert "guest" not in users


def test_prometheus_scrapes_every_process_and_every_queue() -> None:
    text = configuration({"web": 8080, "rabbitmq": 16_390}, ["/rules.yaml"])

    assert '"http://127.0.0.1:8080/metrics-targets"' in text
    assert text.count('"127.0.0.1:16390"') == 2
    assert '"/rules.yaml"' in text


async def test_the_broker_refuses_what_is_larger_than_16_mib(broker: AbstractConnection) -> None:
    async with broker.channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        exchange = channel.default_exchange
        await exchange.publish(Message(b"x" * rabbitmq.MAX_MESSAGE_BYTES), queue.name)
    channel = await broker.channel()
    with pytest.raises(ChannelPreconditionFailed, match="size"):
        await channel.default_exchange.publish(
            Message(b"x" * (rabbitmq.MAX_MESSAGE_BYTES + 1)), "nobody"
        )
