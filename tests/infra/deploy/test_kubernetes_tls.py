"""TLS in the overlay ``ha``: who presents which certificate, and who trusts it."""

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import redis.asyncio as async_redis

from tests.certificates import Authority
from tests.infra.deploy.rendering import (
    HOSTS,
    Resource,
    of_kind,
    pod_templates,
    render,
    run,
    secret_data,
)
from tests.processes import POLL, free_port

AUTHORITY = "adrelay-authority"
SERVERS = ("rabbitmq", "postgres", "valkey")
PORTS = {"rabbitmq": {5671, 15671}, "postgres": {5432}, "valkey": {6379}}


def adrelay_pods() -> dict[str, Resource]:
    """Give the pods of all processes and commands."""
    tasks = of_kind("ha", "CronJob")
    found = pod_templates("ha") | {
        name: job["spec"]["jobTemplate"]["spec"]["template"] for name, job in tasks.items()
    }
    return {name: pod for name, pod in found.items() if name.startswith("adrelay-")}


def test_every_server_has_a_certificate_for_its_address_by_the_one_authority() -> None:
    certificates = {n: c["spec"] for n, c in of_kind("ha", "Certificate").items()}
    issuers = {n: i["spec"] for n, i in of_kind("ha", "Issuer").items()}
    hosts = (HOSTS["ha"].broker, HOSTS["ha"].database, HOSTS["ha"].redis)
    for name, host in zip(SERVERS, hosts, strict=True):
        assert host in certificates[name]["dnsNames"]
        assert issuers[certificates[name]["issuerRef"]["name"]]["ca"]["secretName"] == AUTHORITY
    root = certificates[AUTHORITY]
    assert (root["isCA"], root["secretName"]) == (True, AUTHORITY)
    assert issuers[root["issuerRef"]["name"]] == {"selfSigned": {}}
    lives = {name: int(spec["duration"].removesuffix("h")) for name, spec in certificates.items()}
    assert all(lives[name] < lives[AUTHORITY] for name in SERVERS)


def test_every_server_presents_its_certificate_and_takes_nothing_else() -> None:
    """By hand: https://www.rabbitmq.com/kubernetes/operator/using-operator, the CRD's TLSSpec."""
    secrets = {n: c["spec"]["secretName"] for n, c in of_kind("ha", "Certificate").items()}
    broker = of_kind("ha", "RabbitmqCluster")["rabbitmq"]["spec"]["tls"]
    assert broker == {"secretName": secrets["rabbitmq"], "disableNonTLSListeners": True}
    database = of_kind("ha", "Cluster")["postgres"]["spec"]
    assert set(database["certificates"].values()) == {secrets["postgres"]}
    assert database["postgresql"]["pg_hba"] == ["hostnossl all all all reject"]
    spec = pod_templates("ha")["valkey"]["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["tls"]["secret"]["secretName"] == secrets["valkey"]


def test_every_process_trusts_the_authority_and_does_not_get_its_key() -> None:
    config = next(
        c for n, c in of_kind("ha", "ConfigMap").items() if "DATABASE_CA_FILE" in c["data"]
    )
    (file,) = {config["data"][f"{name}_CA_FILE"] for name in ("RABBITMQ", "DATABASE", "REDIS")}
    for name, pod in adrelay_pods().items():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        given = volumes["authority"]["secret"]
        assert given == {"secretName": AUTHORITY, "items": [{"key": "ca.crt", "path": "ca.crt"}]}
        containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
        for container in containers:
            if "envFrom" in container:
                mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
                assert f"{mounts['authority']['mountPath']}/ca.crt" == file, name


def test_every_url_is_one_with_tls_to_a_port_that_is_open(tmp_path: Path) -> None:
    made = secret_data("ha", tmp_path)
    urls = [
        value
        for data in made.values()
        for name, value in data.items()
        if name.endswith("_URL") or name == "host"
    ]
    assert {urlsplit(url).scheme for url in urls} == {"amqps", "https", "rediss", "postgresql"}
    default = {"amqps": 5671, "rediss": 6379, "postgresql": 5432}
    policies = of_kind("ha", "NetworkPolicy")
    for url in urls:
        parts = urlsplit(url)
        port = parts.port or default[parts.scheme]
        server = str(parts.hostname).split(".")[0].removesuffix("-rw")
        assert port in PORTS[server]
        opened = policies[server]["spec"]["ingress"][0]["ports"]
        assert port in {rule["port"] for rule in opened}
    text = json.dumps(render("ha"))
    assert not re.search(r"amqp://|redis://|, 5672\)", text)


def test_the_scaler_and_prometheus_verify_the_broker(tmp_path: Path) -> None:
    targets = of_kind("ha", "TriggerAuthentication")["adrelay-broker"]["spec"]["secretTargetRef"]
    read = {target["parameter"]: (target["name"], target["key"]) for target in targets}
    assert read["ca"] == (AUTHORITY, "ca.crt")
    made = secret_data("ha", tmp_path)
    assert made[read["tls"][0]][read["tls"][1]] == "enable"
    for endpoint in of_kind("ha", "ServiceMonitor")["rabbitmq"]["spec"]["endpoints"]:
        assert (endpoint["port"], endpoint["scheme"]) == ("prometheus-tls", "https")
        assert endpoint["tlsConfig"]["ca"]["secret"] == {"name": AUTHORITY, "key": "ca.crt"}
        names = of_kind("ha", "Certificate")["rabbitmq"]["spec"]["dnsNames"]
        assert endpoint["tlsConfig"]["serverName"] in names
    opened = of_kind("ha", "NetworkPolicy")["rabbitmq"]["spec"]["ingress"]
    ports = {rule["port"] for item in opened for rule in item.get("ports", ())}
    assert 15691 in ports


async def test_the_arguments_and_the_probe_of_valkey_are_right(tmp_path: Path) -> None:
    """With Redis, which has the same options, and a client as a process makes it."""
    authority = Authority()
    authority.sign("localhost").write(tmp_path, "tls")
    (tmp_path / "tls.pem").rename(tmp_path / "tls.crt")
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    (container,) = pod_templates("ha")["valkey"]["spec"]["containers"]
    port = free_port()
    values = {"$(REDIS_PASSWORD)": "secret", "6379": str(port), "valkey-server": "redis-server"}
    words = [values.get(word, word.replace("/tls/", f"{tmp_path}/")) for word in container["args"]]
    server = await asyncio.create_subprocess_exec(*words, "--dir", str(tmp_path), stdout=-3)
    try:
        url = f"rediss://:secret@localhost:{port}"
        client = async_redis.Redis.from_url(url, ssl_ca_certs=str(tmp_path / "ca.crt"))
        async with asyncio.timeout(60), client:
            while True:
                try:
                    assert await client.ping()
                    break
                except async_redis.ConnectionError:
                    assert server.returncode is None
                    await asyncio.sleep(POLL)
        (shell, option, probe) = container["readinessProbe"]["exec"]["command"]
        own = f"redis-cli -p {port} -a secret --no-auth-warning"
        asked = probe.replace("valkey-cli", own).replace("/tls/", f"{tmp_path}/")
        await asyncio.to_thread(run, shell, option, asked)
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()
