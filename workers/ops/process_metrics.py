"""Parses what a process answers on ``/metrics`` and ``/readyz``. Pure.

Of the metrics only those in ``READ_METRICS`` are kept: of the others each line costs one look.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from schemas.types import ExternalModel

# The beginnings of the names of the samples that pages of the console show.
READ_METRICS = (
    "adrelay_accepted_total",
    "adrelay_breaker_state",
    "adrelay_build_info",
    "adrelay_consumer_isolating",
    "adrelay_http_requests_in_flight",
    "adrelay_loop_lag_seconds",
    "adrelay_messages_in_hand",
    "adrelay_platform_call",
    "adrelay_webhook",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
)


@dataclass(frozen=True, slots=True)
class MetricSample:
    """One line of the metrics: the labels and the value."""

    labels: Mapping[str, str]
    value: float


# The samples of a process by name, such as ``adrelay_accepted_total``.
MetricSamples = Mapping[str, tuple[MetricSample, ...]]


class Readiness(ExternalModel):
    """What ``/readyz`` says: which checks pass, why one fails, and what else is to know."""

    ready: bool
    checks: Mapping[str, bool]
    reasons: Mapping[str, str] = {}
    notes: Mapping[str, str] = {}

    @property
    def failed(self) -> Mapping[str, str]:
        """The checks that fail, with the reason where one is given."""
        return {name: self.reasons.get(name, "") for name, ok in self.checks.items() if not ok}


def parse_metrics(text: str) -> MetricSamples:
    """Parse the text format of Prometheus, version 0.0.4; raises ``ValueError`` for another."""
    lines = (line for line in text.splitlines() if line.startswith(READ_METRICS))
    found: dict[str, list[MetricSample]] = {}
    for family in text_string_to_metric_families("\n".join(lines)):
        for sample in family.samples:
            one = MetricSample(sample.labels, float(sample.value))
            found.setdefault(sample.name, []).append(one)
    return {name: tuple(samples) for name, samples in found.items()}


def sum_samples(samples: MetricSamples, name: str, **labels: str) -> float | None:
    """Add the values of the samples with these labels; None where there are none."""
    values = [
        one.value
        for one in samples.get(name, ())
        if all(one.labels.get(label) == value for label, value in labels.items())
    ]
    return sum(values) if values else None


def parse_readiness(body: bytes) -> Readiness:
    """Parse the answer of ``/readyz``; raises ``ValueError`` for anything else."""
    return Readiness.model_validate_json(body)
