"""Writes the resources of Kubernetes that follow from the processes: one set for each of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from infra.amqp.permissions import VHOST
from infra.commands.secret_files import PROCESS_FILES
from infra.deploy.manifests.processes import (
    ENDPOINT_SECONDS,
    STOP_SECONDS,
    ProcessPlan,
    plan_processes,
)
from infra.deploy.procfile import RELEASE, read_procfile

IMAGE = "adrelay"
SETTINGS = "adrelay-settings"
INGRESS = "web"
CONSOLE = "ops"
# A Service that the name server gives every replica of the ingress for.
REPLICAS = "web-replicas"
USER = 10001
PART_OF = {"app.kubernetes.io/part-of": "adrelay"}
BACKLOG_SECONDS = 30  # more replicas are started where what waits takes longer
CPU_PERCENT = 70  # of what an ingress asks for

COMMAND = ("python", "-m", "infra.commands")
# Commands for the day when they are needed, each with the secrets of a process.
TASKS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "seed": ("seed", ("seed", "--admin")),
    "doctor": ("release", ("doctor",)),
    "restore-look": ("auth", ("restore", "--from-log", "--dry-run")),
    "restore": ("auth", ("restore", "--from-log", "--yes")),
}

Resource = dict[str, Any]


def labels(name: str) -> dict[str, str]:
    """Build the labels of a process, by which Services and policies find it."""
    return {"app.kubernetes.io/name": "adrelay", "app.kubernetes.io/component": name, **PART_OF}


def selector(name: str) -> dict[str, str]:
    """Build the labels that never change."""
    return {"app.kubernetes.io/name": "adrelay", "app.kubernetes.io/component": name}


def write_base() -> list[Resource]:
    """Build the resources of the base: a Deployment, a Service and a budget for each process."""
    plans = plan_processes()
    return [
        release_job(),
        *(task(name, [*COMMAND, *words], process) for name, (process, words) in TASKS.items()),
        *(
            resource
            for plan in plans
            for resource in (deployment(plan), service(plan), disruption_budget(plan))
        ),
        replica_service(next(plan for plan in plans if plan.name == INGRESS)),
    ]


def deployment(plan: ProcessPlan) -> Resource:
    """Build the Deployment of a process, with one replica."""
    alone = plan.scale.most == 1
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    stop = STOP_SECONDS + (ENDPOINT_SECONDS if plan.name == INGRESS else 0)
    container = _container(plan.name, plan.argv) | {
        "ports": [{"name": "http", "containerPort": plan.port}],
        "startupProbe": _probe("/healthz", period=2, failures=30),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "readinessProbe": _probe("/readyz", period=5, failures=2),
        "resources": _resources(plan),
    }
    container["env"].append({"name": "PORT", "value": str(plan.port)})
    if plan.name == CONSOLE:
        container["env"].append({"name": "PROCESS_URLS", "value": _write_process_urls()})
    if plan.name == INGRESS:
        # More of it are more pods, each with its page of metrics.
        container["env"].append({"name": "WEB_PROCESSES", "value": "1"})
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": ENDPOINT_SECONDS}}}
    return _resource("apps/v1", "Deployment", plan.name) | {
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector(plan.name)},
            "strategy": {"type": "Recreate"}
            if alone
            else {"type": "RollingUpdate", "rollingUpdate": rolling},
            "template": {
                "metadata": {"labels": labels(plan.name)},
                "spec": _pod(container)
                | {
                    "initContainers": [_waiting_container()],
                    "terminationGracePeriodSeconds": stop,
                    "topologySpreadConstraints": [
                        _spread(plan.name, "kubernetes.io/hostname"),
                        _spread(plan.name, "topology.kubernetes.io/zone"),
                    ],
                },
            },
        }
    }


def release_job() -> Resource:
    """Build the Job of the release; its name is given a new end by each release."""
    container = _container(RELEASE, read_procfile()[RELEASE].split())
    container["resources"] = {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"memory": "512Mi"},
    }
    return _resource("batch/v1", "Job", RELEASE) | {
        "spec": {
            "backoffLimit": 10,
            "activeDeadlineSeconds": 1800,
            "ttlSecondsAfterFinished": 86_400,
            "template": {
                "metadata": {"labels": labels(RELEASE)},
                "spec": _pod(container) | {"restartPolicy": "OnFailure"},
            },
        }
    }


def task(name: str, argv: Sequence[str], process: str) -> Resource:
    """Build a command that a person starts: kubectl create job --from=cronjob/adrelay-<name>.

    It has the secrets of ``process``; its schedule never runs.
    """
    container = _container(process, argv)
    container["resources"] = {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"memory": "1Gi"},
    }
    pod = {
        "metadata": {"labels": labels(name)},
        "spec": _pod(container) | {"restartPolicy": "Never"},
    }
    job = {"backoffLimit": 0, "ttlSecondsAfterFinished": 86_400, "template": pod}
    return _resource("batch/v1", "CronJob", name) | {
        "spec": {"suspend": True, "schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}
    }


def service(plan: ProcessPlan) -> Resource:
    """Build the Service: of the ingress an address, of a worker its probes and metrics alone."""
    spec: Resource = {
        "selector": selector(plan.name),
        "ports": [{"name": "http", "port": plan.port, "targetPort": "http"}],
    }
    if plan.name != INGRESS:
        # The console shows a worker that is not ready, and why.
        spec |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return _resource("v1", "Service", plan.name) | {"spec": spec}


def replica_service(plan: ProcessPlan) -> Resource:
    """Build the Service by which the console finds every replica; Prometheus overlooks it."""
    spec = service(plan)["spec"] | {"clusterIP": "None", "publishNotReadyAddresses": True}
    metadata = {"name": f"adrelay-{REPLICAS}", "labels": PART_OF}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def disruption_budget(plan: ProcessPlan) -> Resource:
    """Build the budget: maintenance of nodes takes away one replica at a time."""
    return _resource("policy/v1", "PodDisruptionBudget", plan.name) | {
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(plan.name)}}
    }


def write_scaling() -> list[Resource]:
    """Build KEDA's resources: what scales by its queues, and the ingress by its CPU time."""
    triggers: list[tuple[ProcessPlan, list[Resource]]] = []
    for plan in plan_processes():
        if plan.scale.queues:
            triggers.append((plan, [_queue_trigger(queue) for queue in plan.scale.queues]))
        elif plan.scale.most > plan.scale.fewest:
            cpu = {"type": "cpu", "metricType": "Utilization"}
            triggers.append((plan, [cpu | {"metadata": {"value": str(CPU_PERCENT)}}]))
    target = {"parameter": "host", "name": "adrelay-scaler", "key": "host"}
    login = _resource("keda.sh/v1alpha1", "TriggerAuthentication", "broker")
    return [
        login | {"spec": {"secretTargetRef": [target]}},
        *(_scaled_object(plan, found) for plan, found in triggers),
    ]


def _scaled_object(plan: ProcessPlan, triggers: Sequence[Resource]) -> Resource:
    return _resource("keda.sh/v1alpha1", "ScaledObject", plan.name) | {
        "spec": {
            "scaleTargetRef": {"name": f"adrelay-{plan.name}"},
            "minReplicaCount": plan.scale.fewest,
            "maxReplicaCount": plan.scale.most,
            "pollingInterval": 15,
            "cooldownPeriod": 300,
            "triggers": list(triggers),
        }
    }


def _queue_trigger(queue: str) -> Resource:
    """Ask for more replicas in proportion to the time that what waits takes with those there are.

    ``AverageValue``, the default of KEDA, would divide that time by their number.
    """
    return {
        "type": "rabbitmq",
        "metricType": "Value",
        "metadata": {
            "protocol": "http",
            "mode": "ExpectedQueueConsumptionTime",
            "value": str(BACKLOG_SECONDS),
            "queueName": queue,
            "vhostName": VHOST,
        },
        "authenticationRef": {"name": "adrelay-broker"},
    }


def _resource(version: str, kind: str, name: str) -> Resource:
    metadata = {"name": f"adrelay-{name}", "labels": labels(name)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _write_process_urls() -> str:
    hosts = {plan.name: plan.name for plan in plan_processes()} | {INGRESS: REPLICAS}
    return " ".join(
        f"{plan.name}=http://adrelay-{hosts[plan.name]}:{plan.port}" for plan in plan_processes()
    )


def _container(name: str, argv: Sequence[str]) -> Resource:
    secrets = [{"secretRef": {"name": f"adrelay-{file}"}} for file in PROCESS_FILES[name]]
    return {
        "name": name,
        "image": IMAGE,
        "args": list(argv),
        "envFrom": [{"configMapRef": {"name": SETTINGS}}, *secrets],
        "env": [{"name": "HOST", "value": "0.0.0.0"}],  # noqa: S104 - the pod's own network
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own
    }


def _waiting_container() -> Resource:
    """Build the container that lets a process start when the release of its version has run."""
    argv = [*read_procfile()[RELEASE].split(), "--wait"]
    container = _container("release", argv)
    container["envFrom"] = [
        {"configMapRef": {"name": SETTINGS}},
        {"secretRef": {"name": "adrelay-common"}},
    ]
    container["resources"] = {
        "requests": {"cpu": "50m", "memory": "128Mi"},
        "limits": {"memory": "256Mi"},
    }
    return container


def _pod(container: Resource) -> Resource:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }


def _probe(path: str, *, period: int, failures: int) -> Resource:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _resources(plan: ProcessPlan) -> Resource:
    cpu, memory = f"{plan.scale.cpu}m", f"{plan.scale.memory}Mi"
    return {
        "requests": {"cpu": cpu, "memory": memory},
        "limits": {"memory": f"{2 * plan.scale.memory}Mi"},
    }


def _spread(name: str, key: str) -> Resource:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(name)},
    }
