"""RabbitMQ, Postgres and Redis with TLS, which require a client certificate of one authority."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis as blocking_redis

from infra.amqp.permissions import VHOST
from infra.deploy.services import postgres
from infra.deploy.services.directories import ServerDirectory, find_system_user, write_private
from infra.deploy.services.local_servers import (
    SERVERS,
    start_local_servers,
    stop_local_servers,
)
from infra.deploy.services.ports import Ports
from tests.certificates import Authority, Pair
from tests.processes import free_port

NAMES = ("rabbitmq", "postgres", "redis")
BROKER = """[
 {{ssl, [{{bypass_pem_cache, true}}]}},
 {{rabbit, [{{ssl_listeners, [{{"127.0.0.1", {amqps}}}]}}, {{ssl_options, [{files}]}}]}},
 {{rabbitmq_management, [{{ssl_config, [{{ip, "127.0.0.1"}}, {{port, {https}}}, {files}]}}]}}
].
"""
BROKER_FILES = (
    '{{cacertfile, "{0}/ca.pem"}}, {{certfile, "{0}/server.pem"}}, {{keyfile, "{0}/server.key"}},'
    " {{verify, verify_peer}}, {{fail_if_no_peer_cert, true}}"
)
HBA = """hostssl all adrelay all scram-sha-256 clientcert=verify-ca
host all postgres all scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class TlsServers:
    """The running servers. ``amqps``, ``https`` and ``rediss`` are ports."""

    directory: ServerDirectory
    ports: Ports
    amqps: int
    https: int
    rediss: int

    def urls(self, host: str = "localhost") -> dict[str, str]:
        """Give the settings of all connections, as the operator's user of the broker."""
        passwords = self.directory.passwords()
        user = f"operator:{passwords['RABBITMQ_OPERATOR_PASSWORD']}"
        return {
            "rabbitmq_url": f"amqps://{user}@{host}:{self.amqps}/{VHOST}",
            "rabbitmq_management_url": f"https://{user}@{host}:{self.https}",
            "database_url": postgres.url(self.directory, self.ports).replace("127.0.0.1", host),
            "redis_url": f"rediss://:{passwords['REDIS_PASSWORD']}@{host}:{self.rediss}/0",
        }

    def present(self, pair: Pair) -> None:
        """Let all servers present another certificate from now on."""
        for name in NAMES:
            _write(self.directory, name, "server.pem", pair.certificate)
            _write(self.directory, name, "server.key", pair.key)
        postgres.execute(self.directory, self.ports, "select pg_reload_conf()")
        configure_redis(self)


def configure_redis(servers: TlsServers) -> None:
    """Read the files of Redis, and listen."""
    folder = servers.directory.data.resolve() / "redis"
    password = servers.directory.passwords()["REDIS_PASSWORD"]
    with blocking_redis.Redis(port=servers.ports.redis, password=password) as client:
        files = {"ca-cert": "ca.pem", "cert": "server.pem", "key": "server.key"}
        for option, file in files.items():
            client.config_set(f"tls-{option}-file", str(folder / file))
        client.config_set("tls-port", servers.rediss)


def _write(directory: ServerDirectory, server: str, file: str, contents: bytes) -> None:
    user = find_system_user(server)
    write_private(directory.folder(server, user) / file, contents.decode(), user)


@contextmanager
def open_tls_servers(
    place: Path, authority: Authority, pair: Pair, *, broker: bool
) -> Iterator[TlsServers]:
    """Start the servers, which present ``pair`` and trust ``authority``."""
    directory = ServerDirectory(place, durable=False)
    directory.prepare()
    amqps, https, rediss = free_port(), free_port(), free_port()
    for name in NAMES:
        _write(directory, name, "ca.pem", authority.pem)
    for file, contents in (("server.pem", pair.certificate), ("server.key", pair.key)):
        _write(directory, "rabbitmq", file, contents)
    folder = directory.data.resolve() / "rabbitmq"
    config = BROKER.format(amqps=amqps, https=https, files=BROKER_FILES.format(folder))
    _write(directory, "rabbitmq", "advanced.config", config.encode())
    try:
        started = start_local_servers(directory, tuple(SERVERS)[0 if broker else 1 :])
        servers = TlsServers(directory, started.ports, amqps, https, rediss)
        _require_tls(servers)
        servers.present(pair)
        yield servers
    finally:
        stop_local_servers(directory)
        directory.remove()


def _require_tls(servers: TlsServers) -> None:
    data = servers.directory.data.resolve() / postgres.NAME
    write_private(data / "data" / "pg_hba.conf", HBA, find_system_user(postgres.NAME))
    files = {"ssl_ca_file": "ca.pem", "ssl_cert_file": "server.pem", "ssl_key_file": "server.key"}
    for setting, file in files.items():
        statement = f"alter system set {setting} = '{data / file}'"
        postgres.execute(servers.directory, servers.ports, statement)
    postgres.execute(servers.directory, servers.ports, "alter system set ssl = on")
