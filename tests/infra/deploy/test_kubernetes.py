"""The overlays of Kubernetes: valid, complete, and about nothing that the code does not have."""

import importlib
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from infra.amqp import topology
from infra.deploy.manifests.kubernetes import SETTINGS
from infra.deploy.manifests.processes import DRAIN_SECONDS, ENDPOINT_SECONDS, SCALES
from infra.deploy.manifests.settings_file import ELSEWHERE, SECRETS
from infra.deploy.procfile import RELEASE, read_procfile
from infra.deploy.services.prometheus import FAMILIES, RULES
from infra.deploy.services.rabbitmq import MAX_MESSAGE_BYTES
from infra.process import CANCEL_TIMEOUT, PORTS
from infra.settings import Settings
from tests.certificates import Authority
from tests.fork_server import run_module
from tests.infra.deploy.rendering import (
    OVERLAYS,
    Resource,
    install_models,
    of_kind,
    pod_templates,
    render,
    run,
    secret_data,
)
from workers.ingress.routes import PROBES, ROUTES

CORE = {"v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1"}
MODELLED = {
    *("keda.sh/v1alpha1", "monitoring.coreos.com/v1", "postgresql.cnpg.io/v1"),
    "cert-manager.io/v1",
}
# No models of these are published: what is in them is checked by hand, below.
BY_HAND = {"rabbitmq.com/v1beta1", "barmancloud.cnpg.io/v1"}
# What somebody else makes: docs/deploying.md says who.
GIVEN_SECRETS = {"adrelay-tls", "adrelay-backup-store"}
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - of a pod's own network
overlays = pytest.mark.parametrize("overlay", OVERLAYS)


def validate_by_models(resources: list[Resource]) -> list[str]:
    """Let the operators' published models judge resources; gives their complaints."""
    node, folder = install_models()
    found: list[str] = json.loads(run(node, "validate.js", given=json.dumps(resources), cwd=folder))
    return found


def processes(overlay: str) -> dict[str, Resource]:
    """Give the containers of Adrelay's processes, by the names of the Procfile."""
    templates = pod_templates(overlay)
    return {name: templates[f"adrelay-{name}"]["spec"]["containers"][0] for name in read_procfile()}


@overlays
def test_resources_of_kubernetes_itself_are_valid(overlay: str) -> None:
    core = [resource for resource in render(overlay) if resource["apiVersion"] in CORE]
    assert len(core) > 20
    for resource in core:
        kubernetes_validate.validate(resource, "1.34", strict=True)


@overlays
def test_resources_of_operators_are_valid_by_their_published_models(overlay: str) -> None:
    modelled = [resource for resource in render(overlay) if resource["apiVersion"] in MODELLED]
    assert modelled
    assert validate_by_models(modelled) == []


def test_the_models_refuse_what_is_wrong() -> None:
    (first, *_) = of_kind("ha", "ScaledObject").values()
    wrong = json.loads(json.dumps(first))
    wrong["spec"]["triggers"][0]["metadata"]["value"] = 30  # has to be a text
    assert len(validate_by_models([wrong])) == 1


@overlays
def test_there_is_no_other_kind_of_resource(overlay: str) -> None:
    assert {r["apiVersion"] for r in render(overlay)} <= CORE | MODELLED | BY_HAND


@overlays
def test_every_line_of_the_procfile_runs(overlay: str) -> None:
    found = processes(overlay)
    for name, command in read_procfile().items():
        assert " ".join(found[name]["args"]) == command
    assert set(pod_templates(overlay)) == {
        *(f"adrelay-{name}" for name in read_procfile()),
        "valkey",
    }


@overlays
def test_every_process_has_its_port_probes_and_limits(overlay: str) -> None:
    for name, container in processes(overlay).items():
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        if name == RELEASE:
            continue
        environment = {item["name"]: item["value"] for item in container["env"]}
        urls = {pair.partition("=")[0] for pair in environment.pop("PROCESS_URLS", "").split()}
        assert urls == (set(PORTS) if name == "ops" else set())
        alone = {"WEB_PROCESSES": "1"} if name == "web" else {}
        assert environment == {"HOST": EVERY_ADDRESS, "PORT": str(PORTS[name]), **alone}
        assert container["ports"] == [{"name": "http", "containerPort": PORTS[name]}]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == "http"
            assert container[probe]["httpGet"]["path"] in PROBES
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


@overlays
def test_the_console_finds_every_replica_of_every_process_and_may_ask_it(overlay: str) -> None:
    services, policies = of_kind(overlay, "Service"), of_kind(overlay, "NetworkPolicy")
    environment = {item["name"]: item["value"] for item in processes(overlay)["ops"]["env"]}
    for pair in environment["PROCESS_URLS"].split():
        name, _, url = pair.partition("=")
        spec = services[urlsplit(url).hostname or ""]["spec"]
        assert spec["clusterIP"] == "None"
        assert spec["publishNotReadyAddresses"]
        assert spec["selector"]["app.kubernetes.io/component"] == name
        assert spec["ports"][0]["port"] == urlsplit(url).port
    probed, console = policies["adrelay-probes"]["spec"], policies["adrelay-console"]["spec"]
    (allowed,), (reached,) = probed["ingress"], console["egress"]
    assert allowed["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "ops"
    assert reached["to"][0]["podSelector"] == probed["podSelector"]


@overlays
def test_no_process_has_more_rights_than_it_needs(overlay: str) -> None:
    for name, template in pod_templates(overlay).items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["automountServiceAccountToken"] is False
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@overlays
def test_a_process_is_not_killed_while_it_drains(overlay: str) -> None:
    for name, template in pod_templates(overlay).items():
        if name in {"valkey", f"adrelay-{RELEASE}"}:
            continue
        spec = template["spec"]
        hook = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        before = hook.get("seconds", 0)
        assert before == (ENDPOINT_SECONDS if name == "adrelay-web" else 0)
        assert spec["terminationGracePeriodSeconds"] >= before + DRAIN_SECONDS + CANCEL_TIMEOUT


@overlays
def test_every_setting_has_its_place(overlay: str, tmp_path_factory: Any) -> None:
    config = next(r for n, r in of_kind(overlay, "ConfigMap").items() if n.startswith(SETTINGS))
    made = secret_data(overlay, tmp_path_factory.mktemp("secrets"))
    secrets = {name for data in made.values() for name in data}
    known = {name.upper() for name in Settings.model_fields}
    file = (Path(__file__).parents[3] / "infra/deploy/settings.env").read_text()
    optional = set(re.findall(r"^# ([A-Z][A-Z0-9_]+)=$", file, re.MULTILINE))

    assert set(config["data"]) <= known
    assert not set(config["data"]) & SECRETS
    assert known - set(config["data"]) - secrets - optional - set(ELSEWHERE) == set()


@overlays
def test_every_process_is_started_with_settings_that_are_valid(
    overlay: str, tmp_path_factory: Any
) -> None:
    made = secret_data(overlay, tmp_path_factory.mktemp("secrets"))
    authority = tmp_path_factory.mktemp("authority") / "ca.crt"
    authority.write_bytes(Authority().pem)
    configs = of_kind(overlay, "ConfigMap")
    for container in processes(overlay).values():
        values: dict[str, str] = {}
        for source in container["envFrom"]:
            if "configMapRef" in source:
                values |= configs[source["configMapRef"]["name"]]["data"]
            else:
                values |= made[source["secretRef"]["name"]]
        files = [name for name in values if name.endswith("_CA_FILE")]
        values |= dict.fromkeys(files, str(authority))
        settings = Settings.model_validate({n.lower(): v for n, v in values.items()})
        assert settings.public_url == "https://adrelay.example.com"
        assert settings.ingress_user == "adrelay-ingress adrelay-console"
        assert settings.trusted_proxies
        assert settings.claude_url == "https://ads.claude.example.com"


@overlays
def test_the_commands_for_later_exist_and_never_start_by_themselves(overlay: str) -> None:
    tasks = of_kind(overlay, "CronJob")
    assert {"adrelay-seed", "adrelay-restore", "adrelay-doctor"} <= set(tasks)
    for job in tasks.values():
        assert job["spec"]["suspend"] is True
        container = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
        module, command, *options = container["args"][2:]
        assert module == "infra.commands"
        told = run_module(module, command, "--help", env={"COLUMNS": "200"}).stdout
        assert all(option in told for option in options), told


@overlays
def test_every_reference_leads_somewhere(overlay: str, tmp_path_factory: Any) -> None:
    text = json.dumps(render(overlay))
    made = secret_data(overlay, tmp_path_factory.mktemp("secrets"))
    configs = of_kind(overlay, "ConfigMap")
    names = set(re.findall(r'"secretRef": \{"name": "([^"]+)"', text))
    names |= set(re.findall(r'"secretName": "([^"]+)"', text))
    names |= set(re.findall(r'"secret": \{"name": "([^"]+)"', text))
    signed = {c["spec"]["secretName"] for c in of_kind(overlay, "Certificate").values()}
    assert names <= set(made) | GIVEN_SECRETS | signed
    for config in re.findall(r'"configMapRef": \{"name": "([^"]+)"', text):
        assert config in configs
    for reference in re.findall(r'"secretKeyRef": (\{[^}]+\})', text):
        wanted = json.loads(reference)
        assert wanted["key"] in made[wanted["name"]]
    services = of_kind(overlay, "Service")
    for ingress in of_kind(overlay, "Ingress").values():
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            backend = path["backend"]["service"]
            ports = services[backend["name"]]["spec"]["ports"]
            assert backend["port"]["name"] in {port["name"] for port in ports}


@overlays
def test_every_selector_finds_pods(overlay: str) -> None:
    """Of Services, budgets, policies and spread; pods of operators are named by their labels."""
    pods = [t["metadata"]["labels"] for t in pod_templates(overlay).values()]
    # As the RabbitMQ and the CloudNativePG operator label them.
    pods += [
        {"app.kubernetes.io/name": "rabbitmq", "app.kubernetes.io/component": "rabbitmq"},
        {"cnpg.io/cluster": "postgres"},
    ]
    selectors = re.findall(
        r'"(?:matchLabels|selector)": (\{"[^{}]*\})', json.dumps(render(overlay))
    )
    assert selectors
    for found in map(json.loads, selectors):
        if "kubernetes.io/metadata.name" not in found:
            assert any(found.items() <= pod.items() for pod in pods), found


@overlays
def test_the_api_is_reached_from_outside_and_the_probes_are_not(overlay: str) -> None:
    (ingress,) = of_kind(overlay, "Ingress").values()
    paths = ingress["spec"]["rules"][0]["http"]["paths"]

    def is_open(route: str) -> bool:
        return any(
            route.startswith(path["path"])
            if path["pathType"] == "Prefix"
            else route == path["path"]
            for path in paths
        )

    for route in ROUTES:
        assert is_open(route.path) != (route.path in PROBES), route.path
    assert ingress["spec"]["tls"][0]["hosts"] == [ingress["spec"]["rules"][0]["host"]]


def test_each_process_scales_by_its_own_queues() -> None:
    queues = {
        name: {sub.queue for sub in importlib.import_module(f"workers.{name}").SUBSCRIPTIONS}
        for name in ("auth", "campaigns", "sync", "metrics")
    }
    for name, wanted in queues.items():
        triggers = of_kind("ha", "ScaledObject")[f"adrelay-{name}"]["spec"]["triggers"]
        assert {t["metadata"]["queueName"] for t in triggers} == wanted
        for trigger in triggers:
            assert trigger["metadata"]["mode"] == "ExpectedQueueConsumptionTime"
            assert trigger["metricType"] == "Value"
            assert trigger["metadata"]["protocol"] == "http"
    every = {queue for names in queues.values() for queue in names}
    assert every <= {*topology.WORK_QUEUE_NAMES, *(q.name for q in topology.REQUEST_QUEUES)}


def test_campaigns_runs_once_at_any_time() -> None:
    spec = of_kind("ha", "ScaledObject")["adrelay-campaigns"]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 1)
    deployment = of_kind("ha", "Deployment")["adrelay-campaigns"]["spec"]
    assert deployment["strategy"] == {"type": "Recreate"}


def test_what_scales_has_no_number_of_replicas_of_its_own() -> None:
    scaled = {r["spec"]["scaleTargetRef"]["name"] for r in of_kind("ha", "ScaledObject").values()}
    for name, deployment in of_kind("ha", "Deployment").items():
        if name in scaled:
            assert "replicas" not in deployment["spec"], name
        else:
            process = name.removeprefix("adrelay-")
            assert deployment["spec"]["replicas"] == SCALES[process].fewest


def test_everything_but_campaigns_and_valkey_is_there_twice_in_ha() -> None:
    assert {name for name, scale in SCALES.items() if scale.fewest < 2} == {"campaigns"}
    assert of_kind("ha", "RabbitmqCluster")["rabbitmq"]["spec"]["replicas"] == 3
    assert of_kind("ha", "Cluster")["postgres"]["spec"]["instances"] == 3


def test_postgres_has_connections_for_the_most_processes_that_there_can_be() -> None:
    pool = Settings.model_fields["database_pool"].default
    most = sum(scale.most for scale in SCALES.values()) * pool
    parameters = of_kind("ha", "Cluster")["postgres"]["spec"]["postgresql"]["parameters"]
    assert most + 50 <= int(parameters["max_connections"])


@overlays
def test_the_broker_has_the_limits_of_make_run(overlay: str) -> None:
    """By hand: https://www.rabbitmq.com/kubernetes/operator/using-operator."""
    spec = of_kind(overlay, "RabbitmqCluster")["rabbitmq"]["spec"]
    known = {
        *("replicas", "image", "resources", "persistence", "terminationGracePeriodSeconds"),
        *("rabbitmq", "override", "affinity", "tls"),
    }
    assert set(spec) <= known
    assert set(spec["rabbitmq"]) == {"additionalPlugins", "additionalConfig"}
    lines = dict(
        line.split(" = ") for line in spec["rabbitmq"]["additionalConfig"].strip().splitlines()
    )
    assert int(lines["max_message_size"]) == MAX_MESSAGE_BYTES
    template = spec["override"]["statefulSet"]["spec"]["template"]["spec"]
    (mount,) = template["containers"][0]["volumeMounts"]
    assert lines["definitions.local.path"] == f"{mount['mountPath']}/definitions.json"
    (volume,) = template["volumes"]
    assert volume["name"] == mount["name"]


def test_backups_go_where_the_site_says() -> None:
    """By hand: https://cloudnative-pg.io/plugin-barman-cloud/docs/usage/."""
    store = of_kind("ha", "ObjectStore")["adrelay-backups"]
    configuration = store["spec"]["configuration"]
    assert set(store["spec"]) == {"retentionPolicy", "configuration"}
    assert set(configuration) <= {"destinationPath", "endpointURL", "s3Credentials", "wal", "data"}
    (plugin,) = of_kind("ha", "Cluster")["postgres"]["spec"]["plugins"]
    assert plugin["parameters"]["barmanObjectName"] == store["metadata"]["name"]
    backup = of_kind("ha", "ScheduledBackup")["adrelay-nightly"]["spec"]
    assert backup["pluginConfiguration"]["name"] == plugin["name"]


def test_prometheus_reads_what_the_rules_ask_for() -> None:
    rules = of_kind("ha", "PrometheusRule")
    assert [rules[f"adrelay-{path.stem}"]["spec"] for path in RULES] == [
        yaml.safe_load(path.read_text()) for path in RULES
    ]
    monitors = of_kind("ha", "ServiceMonitor")
    for endpoint in monitors["adrelay"]["spec"]["endpoints"]:
        assert endpoint["path"] in PROBES
    detailed = monitors["rabbitmq"]["spec"]["endpoints"][1]
    assert detailed["params"]["family"] == list(FAMILIES)
    for service in of_kind("ha", "Service").values():
        labels = service["metadata"]["labels"]
        if labels.get("app.kubernetes.io/name") == "adrelay":
            assert labels[monitors["adrelay"]["spec"]["jobLabel"]] in PORTS
