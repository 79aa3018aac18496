"""Three RabbitMQ nodes on loopback that are one cluster, each to be killed and frozen alone.

They share one epmd, one cookie and one set of passwords; all else each has for itself. A
node that loses sight of the others is noticed after ten seconds instead of a minute, and
a minority pauses, as the vendor advises for clusters of three
(https://www.rabbitmq.com/docs/partitions). What comes down the retry ladder to a leader that
stands still is sent again after five seconds instead of three minutes: such messages are
neither ready nor in anybody's hand meanwhile (seen on 3.10.8).
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from pydantic import SecretStr

from infra.amqp.permissions import OPS_USER, VHOST
from infra.commands.migrate import release
from infra.deploy.services import rabbitmq
from infra.deploy.services.directories import ServerDirectory, find_system_user, write_private
from infra.deploy.services.ports import Ports, choose_ports
from infra.deploy.services.threads import run_in_thread
from infra.settings import Settings
from tests.chaos.servers import BROKER, Servers, free_place, remove
from tests.services import Services, as_user

SIZE = 3
START_SECONDS = 120.0
WHOLE_SECONDS = 60.0
CONFIG = """[
 {{kernel, [{{net_ticktime, 10}}]}},
 {{aten, [{{poll_interval, 1000}}]}},
 {{rabbit, [
  {{cluster_partition_handling, pause_minority}},
  {{dead_letter_worker_publisher_confirm_timeout, 5000}}{join}
 ]}}
].
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes; every call here blocks."""

    nodes: tuple[Servers, ...]

    @property
    def urls(self) -> str:
        """``RABBITMQ_URL`` of a client that knows all nodes."""
        return " ".join(rabbitmq.url(n.services.directory, n.services.ports) for n in self.nodes)

    def named(self, name: str) -> Servers:
        """Find the node that the broker calls by this name."""
        (found,) = (node for node in self.nodes if name_of(node) == name)
        return found

    def others(self, node: Servers) -> tuple[Servers, ...]:
        return tuple(other for other in self.nodes if other is not node)

    @property
    def version(self) -> str:
        """The version of the brokers, such as ``3.10.8``."""
        return str(self.call("overview")["rabbitmq_version"])

    def call(self, *path: str) -> Any:
        """Ask the management API of a node that answers."""
        for node in self.nodes:
            if node.daemon(BROKER).pid() is not None and node.services.operator.is_available():
                return node.services.operator.call("GET", *path)
        raise OSError("no node answers")

    def queue(self, name: str) -> dict[str, Any]:
        """Tell what the cluster knows of a queue: its leader, its members, who is online."""
        return dict(self.call("queues", VHOST, name))

    def leader(self, queue: str) -> Servers:
        """Find the node that leads a quorum queue."""
        return self.named(self.queue(queue)["leader"])

    def writer(self, stream: str) -> Servers:
        """Find the node that leads a stream, whatever the record of the queue says."""
        words = ("stream_status", stream, "--vhost", VHOST, "--formatter", "json")
        told = self.nodes[0].control(*words, tool="rabbitmq-streams")
        (leader,) = (member["node"] for member in orjson.loads(told) if member["role"] == "writer")
        return self.named(leader)

    def is_whole(self) -> bool:
        """Tell whether every node runs and sees the others, and every queue all its members."""
        try:
            nodes = self.call("nodes")
            queues = self.call("queues", VHOST)
        except OSError:
            return False
        running = [n for n in nodes if n.get("running") and not n.get("partitions")]
        return len(running) == SIZE and all(
            len(queue.get("online", ())) == SIZE for queue in queues if "members" in queue
        )


def name_of(node: Servers) -> str:
    return f"adrelay_{node.services.directory.tag}@localhost"


@contextmanager
def open_cluster() -> Iterator[Cluster]:
    """Start three nodes on fresh data and join them; nothing of them stays in the end."""
    with ExitStack() as held:
        above = free_place(held)
        places = [
            ServerDirectory(above.state / f"node-{n}", durable=False) for n in range(1, SIZE + 1)
        ]
        for directory in places:
            remove(directory)
        try:
            yield _start(places)
        finally:
            for directory in places:
                remove(directory)
            above.remove()


def pointed_to(cluster: Cluster, settings: Settings) -> Settings:
    """Give settings whose broker is the cluster, released as an operator would."""
    first = cluster.nodes[0].services
    addresses = {
        "rabbitmq_url": SecretStr(cluster.urls),
        "rabbitmq_management_url": SecretStr(first.management_url()),
    }
    own = settings.model_copy(update=addresses)
    run_in_thread(lambda: release(as_user(OPS_USER, own)))
    return own


def _start(places: list[ServerDirectory]) -> Cluster:
    chosen = _ports(places)
    passwords = "".join(f"{name}={value}\n" for name, value in places[0].passwords().items())
    nodes: list[Servers] = []
    for directory, ports in zip(places, chosen, strict=True):
        write_private(directory.state / "passwords.env", passwords)
        nodes.append(Servers(Services(directory, ports, "", 0)))
    first, *others = nodes
    # The first has to be there before the others can ask to join it.
    for group in ([first], others):
        for node in group:
            _configure(node, None if node is first else first)
            rabbitmq.start(node.services.directory, node.services.ports)
        for node in group:
            directory, ports = node.services.directory, node.services.ports
            answers = partial(rabbitmq.is_ready, directory, ports)
            node.daemon(BROKER).wait_until(answers, deadline=START_SECONDS)
    rabbitmq.provision(first.services.directory, first.services.ports)
    first.services.create_vhost(VHOST)
    return Cluster(tuple(nodes))


def _ports(places: list[ServerDirectory]) -> list[Ports]:
    """Choose ports for every node; epmd's are the first one's."""
    chosen: list[Ports] = []
    with ExitStack() as held:
        for directory in places:
            directory.prepare()
            ports = choose_ports(directory)
            # Nothing runs yet, so the next place could be given the same ones.
            held.enter_context(socket.create_server(("127.0.0.1", ports.amqp)))
            chosen.append(ports)
    return [replace(ports, epmd=chosen[0].epmd) for ports in chosen]


def _configure(node: Servers, first: Servers | None) -> None:
    system_user = find_system_user(rabbitmq.NAME)
    folder = node.services.directory.folder(rabbitmq.NAME, system_user)
    join = f", {{cluster_nodes, {{['{name_of(first)}'], disc}}}}" if first else ""
    write_private(folder / "advanced.config", CONFIG.format(join=join), system_user)
