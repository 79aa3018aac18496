"""Writes what Prometheus reads: rules as PrometheusRules, targets of the compose file."""

from typing import Any

import yaml

from infra.deploy.manifests.kubernetes import PART_OF, Resource
from infra.deploy.manifests.processes import ProcessPlan, plan_processes
from infra.deploy.services.prometheus import BROKER, FAMILIES, INGRESS, RULES, find_ingress

INTERVAL = "15s"
ALERTMANAGER = "alertmanager:9093"
BROKER_METRICS = "rabbitmq:15692"


def write_rules() -> list[Resource]:
    """Build a PrometheusRule of each file of ``infra/dashboards``."""
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": f"adrelay-{rule.stem}", "labels": PART_OF},
            "spec": yaml.safe_load(rule.read_text()),
        }
        for rule in RULES
    ]


def write_configuration() -> Resource:
    """Build the configuration of the compose file's Prometheus; jobs are named as the processes."""
    jobs = [_process_job(plan) for plan in plan_processes()]
    detailed = {"metrics_path": "/metrics/detailed", "params": {"family": list(FAMILIES)}}
    return {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": [f"/etc/prometheus/adrelay/{rule.name}" for rule in RULES],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [ALERTMANAGER]}]}]},
        "scrape_configs": [
            *jobs,
            _job(BROKER, BROKER_METRICS),
            _job(f"{BROKER}-queues", BROKER_METRICS) | detailed,
        ],
    }


def _process_job(plan: ProcessPlan) -> Resource:
    address = f"{plan.name}:{plan.port}"
    return find_ingress(address, INTERVAL) if plan.name == INGRESS else _job(plan.name, address)


def _job(name: str, target: str) -> dict[str, Any]:
    """Ask the name server for all containers of a service, so that replicas are found."""
    host, _, port = target.partition(":")
    found = {"names": [host], "type": "A", "port": int(port), "refresh_interval": INTERVAL}
    return {"job_name": name, "dns_sd_configs": [found]}
