"""Labels come from closed sets: whatever is sent, no other series appears."""

import ast
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from infra import metrics
from infra.amqp.topology import PUBLISH_EXCHANGES
from infra.deploy.services.directories import CHECKOUT
from infra.errors import CODES, UNEXPECTED, Permanent, Snooze, Transient
from infra.metrics.buckets import CONVENTION
from infra.metrics.conventions import COMMON
from infra.metrics.publishing import PUBLISH_OUTCOMES
from schemas.types import PLATFORMS

FAILURES = ("Failure", "Transient", "Permanent", "Snooze", "UnparsableWebhook")


def codes_in(path: Path) -> set[str]:
    """Find the codes that a module gives to failures."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in FAILURES:
            values = [word.value for word in node.keywords if word.arg == "code"]
        elif isinstance(node, ast.ClassDef) and {getattr(b, "id", "") for b in node.bases} & {
            *FAILURES,
            "Exception",
        }:
            values = [
                line.value
                for line in node.body
                if isinstance(line, ast.Assign) and getattr(line.targets[0], "id", "") == "code"
            ]
        else:
            continue
        found |= {
            v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)
        }
    return found


def test_every_code_of_a_failure_is_in_the_closed_set_and_nothing_else_is() -> None:
    files = (
        path for package in ("infra", "handlers") for path in (CHECKOUT / package).rglob("*.py")
    )
    found = {code for path in files for code in codes_in(path)}

    assert found | {UNEXPECTED} == CODES


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Transient("x"), "TRANSIENT"),
        (Permanent("x", code="ID_REUSED"), "ID_REUSED"),
        (Snooze("x", 1), "SNOOZE"),
        (Permanent("x", code='evil"} 1\n'), "OTHER"),
        (ValueError("x"), "UNEXPECTED"),
    ],
)
def test_a_failure_is_counted_by_a_known_code(error: Exception, code: str) -> None:
    assert metrics.code_of(error) == code


def test_a_consumer_begins_every_code_and_outcome_at_0() -> None:
    metrics.Meters("test.zero")

    for name in ("adrelay_retries_total", "adrelay_dead_letters_total"):
        for code in (*CODES, metrics.OTHER):
            assert REGISTRY.get_sample_value(name, {"queue": "test.zero", "code": code}) == 0
    for name in ("event_seconds", "event_age_seconds", "batch_seconds", "batch_size"):
        found = REGISTRY.get_sample_value(f"adrelay_{name}_count", {"queue": "test.zero"})
        assert found == 0, name


def test_an_exchange_that_is_not_ours_becomes_no_label() -> None:
    metrics.PUBLISHED.begin(PUBLISH_EXCHANGES)
    before = metrics.PUBLISHED.counts()

    metrics.PUBLISHED.count('evil"} 1\n', metrics.CONFIRMED)
    metrics.PUBLISHED.observe('evil"} 1\n', metrics.CONFIRMED, 0.1)

    counts = metrics.PUBLISHED.counts()
    assert counts["other", "confirmed"] == before["other", "confirmed"] + 1
    assert {exchange for exchange, _ in counts} == {
        *(name or "amq.default" for name in PUBLISH_EXCHANGES),
        "other",
    }
    assert {outcome for _, outcome in counts} == set(PUBLISH_OUTCOMES)


def test_opentelemetrys_metrics_are_our_own_figures_with_its_attributes_and_buckets() -> None:
    meters = metrics.Meters("test.conventions")
    meters.size.observe(7)
    meters.seconds.observe(0.3)
    meters.failed_seconds.observe(2)
    common = dict(zip(COMMON, ("rabbitmq", "process", "test.conventions"), strict=True))

    consumed = {**common, "messaging_operation_name": "consume", "error_type": ""}
    name = "messaging_client_consumed_messages_total"
    assert REGISTRY.get_sample_value(name, consumed) == 7
    for error, total in (("", 0.3), ("Outage", 2)):
        labels = {**common, "messaging_operation_type": "process", "error_type": error}
        name = "messaging_process_duration_seconds"
        assert REGISTRY.get_sample_value(f"{name}_sum", labels) == total
        bounds = {
            sample.labels["le"]
            for family in metrics.CONVENTIONS.collect()
            for sample in family.samples
            if sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items()
        }
        assert bounds == {*(repr(float(bound)) for bound in CONVENTION), "+Inf"}


def test_renewals_of_tokens_begin_at_0_for_every_platform_and_outcome() -> None:
    for platform in PLATFORMS:
        for outcome in ("renewed", "lapsed", "revoked", "overtaken", "failed"):
            labels = {"platform": platform, "outcome": outcome}
            assert REGISTRY.get_sample_value("adrelay_account_renewals_total", labels) is not None
