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
from infra.deploy.services.daemon import Daemon, NotStarted, began
from infra.deploy.services.directories import Account, Place
from infra.deploy.services.ports import choose_ports
from infra.deploy.services.prometheus import configuration
from infra.deploy.services.provisioning import provide
from tests.services import Services

OURSELVES = Account(os.geteuid(), os.getegid(), switches=False)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "state")
    place.prepare()
    yield place
    place.remove()


def test_a_daemon_lives_until_it_is_stopped(place: Place) -> None:
    daemon = Daemon(place, "sleeper")
    daemon.start(["sleep", "300"], OURSELVES, place.state)
    pid = daemon.pid()
    assert pid is not None

    daemon.stop()

    assert began(pid) is None
    assert daemon.pid() is None


def test_a_daemon_that_does_not_heed_the_signal_is_killed_with_its_children(place: Place) -> None:
    daemon = Daemon(place, "stubborn")
    child = place.state / "child"
    script = f"trap '' TERM; sleep 300 & echo $! >{child}.new; mv {child}.new {child}; wait; wait"
    daemon.start(["sh", "-c", script], OURSELVES, place.state)
    daemon.wait_until(child.exists)
    pid = daemon.pid()
    assert pid is not None

    daemon.stop(deadline=0.2)

    assert began(pid) is None
    end = time.monotonic() + 5
    while began(int(child.read_text())) is not None:
        assert time.monotonic() < end


def test_a_recycled_process_id_is_not_taken_for_the_daemon(place: Place) -> None:
    (place.state / "run" / "other.pid").write_text(f"{os.getpid()} 1\n")
    daemon = Daemon(place, "other")

    assert daemon.pid() is None
    daemon.stop(signal.SIGKILL)


def test_a_daemon_that_ends_at_its_start_is_reported_with_its_log(place: Place) -> None:
    daemon = Daemon(place, "broken")
    daemon.start(["sh", "-c", "echo the disk is full; exit 1"], OURSELVES, place.state)

    with pytest.raises(NotStarted, match=r"(?s)broken ended while it started.*the disk is full"):
        daemon.wait_until(lambda: False)


def test_ports_are_kept_from_start_to_start(place: Place) -> None:
    assert choose_ports(place) == choose_ports(place)


def test_ports_are_neither_well_known_nor_above_the_servers_range(place: Place) -> None:
    ports = asdict(choose_ports(place)).values()

    assert all(16_384 <= port < 24_576 for port in ports)
    assert len(set(ports)) == len(ports)


def test_a_taken_port_moves_the_place_to_other_ports(place: Place) -> None:
    first = choose_ports(place)
    with socket.create_server(("127.0.0.1", first.redis)):
        second = choose_ports(place)

    assert not set(asdict(first).values()) & set(asdict(second).values())


def test_two_places_have_other_ports_and_passwords(tmp_path: Path) -> None:
    one, two = Place(tmp_path / "one"), Place(tmp_path / "two")
    for place in (one, two):
        place.prepare()

    assert one.tag != two.tag
    assert not set(one.passwords().values()) & set(two.passwords().values())
    assert one.passwords() == one.passwords()
    assert (one.state / "passwords.env").stat().st_mode & 0o777 == 0o600


def test_urls_of_the_environment_are_taken_as_they_are(place: Place) -> None:
    given = {
        "RABBITMQ_URL": "amqp://a:b@broker/c",
        "DATABASE_URL": "postgresql://a:b@database/c",
        "REDIS_URL": "redis://cache/0",
    }
    servers = provide(place, given, print)

    # Whoever names one user has no other.
    one = {"UPSTREAM_RABBITMQ_URL": "amqp://a:b@broker/c", "INGRESS_USER": "a"}
    assert servers.urls == {**given, **one}
    same = {"RABBITMQ_URL": "amqp://a:b@broker/c"}
    assert servers.own == {"web": same, "release": same}
    assert not servers.has_private_broker
    assert not any(Daemon(place, server.NAME).pid() for server in (rabbitmq, postgres, redis))


def test_the_users_of_a_given_broker_are_told_apart_by_their_urls(place: Place) -> None:
    given = {
        "RABBITMQ_URL": "amqp://workers:b@broker/c",
        "INGRESS_RABBITMQ_URL": "amqp://web%2F1:b@broker/c amqp://web%2F1:b@other/c",
        "UPSTREAM_RABBITMQ_URL": "amqp://crm:b@broker/c",
        "OPS_RABBITMQ_URL": "amqp://ops:b@broker/c",
        "DATABASE_URL": "postgresql://a:b@database/c",
        "REDIS_URL": "redis://cache/0",
    }
    servers = provide(place, given, print)

    assert servers.own["web"] == {"RABBITMQ_URL": given["INGRESS_RABBITMQ_URL"]}
    assert servers.own["release"] == {"RABBITMQ_URL": given["OPS_RABBITMQ_URL"]}
    assert servers.urls["INGRESS_USER"] == "web/1"
    assert servers.urls["UPSTREAM_RABBITMQ_URL"] == given["UPSTREAM_RABBITMQ_URL"]


def test_one_url_may_be_given_and_the_others_private(place: Place) -> None:
    given = {"RABBITMQ_URL": "amqp://a:b@broker/c", "DATABASE_URL": "postgresql://a:b@database/c"}
    servers = provide(place, given, print)
    try:
        assert servers.urls.items() >= given.items()
        assert servers.urls["REDIS_URL"] == redis.url(place, servers.ports)
        assert redis.answers(place, servers.ports)
        again = provide(place, dict(servers.urls), print)
        assert again.urls == servers.urls
    finally:
        Daemon(place, redis.NAME).stop()


def test_nobody_gets_in_without_a_password(services: Services) -> None:
    with socket.create_connection(("127.0.0.1", services.ports.redis), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100).startswith(b"-NOAUTH")
    users = [user["name"] for user in services.operator.call("GET", "users")]
    assert "guest" not in users


def test_prometheus_scrapes_every_process_and_every_queue() -> None:
    text = configuration({"web": 8080, "rabbitmq": 16_390}, ["/rules.yaml"])

    assert '"127.0.0.1:8080"' in text
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
