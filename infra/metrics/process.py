"""Metrics of a process: its code, its event loop, its pools; and the size of the tables.

CPU time is prometheus-client's own ``process_cpu_seconds_total``.
"""

import platform
from collections.abc import Callable
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.metrics.batch_histogram import BatchHistogram
from infra.metrics.buckets import LATENCY
from infra.version import find_commit, find_release

# Connections in use, and idle ones.
PoolState = tuple[int, int]


class PoolConnections(Collector):
    """Exports the connections of the process's pools by state, read at each scrape."""

    def __init__(self, name: str, documentation: str) -> None:
        """Register the family; without a pool all are 0."""
        self._name = name
        self._documentation = documentation
        self._pools: WeakKeyDictionary[object, Callable[[], PoolState]] = WeakKeyDictionary()
        REGISTRY.register(self)

    def watch(self, pool: object, read: Callable[[], PoolState]) -> None:
        """Export a pool until it is gone; ``read`` must not hold it."""
        self._pools[pool] = read

    def describe(self) -> list[Metric]:
        """Name the family, for the registry."""
        return [GaugeMetricFamily(self._name, self._documentation, labels=["state"])]

    def collect(self) -> list[Metric]:
        """Export the sum over all pools."""
        states = [read() for read in list(self._pools.values())]
        family = GaugeMetricFamily(self._name, self._documentation, labels=["state"])
        family.add_metric(["in_use"], sum(used for used, _ in states))
        family.add_metric(["idle"], sum(idle for _, idle in states))
        return [family]


BUILD_INFO = Gauge(
    "adrelay_build_info", "1, with the code that runs", ["version", "commit", "python"]
)
LOOP_LAG_SECONDS = Histogram(
    "adrelay_loop_lag_seconds", "How late the event loop woke a sleeper", buckets=LATENCY
)
DB_POOL_CONNECTIONS = PoolConnections(
    "adrelay_db_pool_connections", "Connections to Postgres, in use and idle"
)
DB_POOL_WAIT_SECONDS = BatchHistogram(
    "adrelay_db_pool_wait_seconds",
    "Seconds until a connection to Postgres was free, opened if need be",
    [],
    LATENCY,
)
REDIS_POOL_CONNECTIONS = PoolConnections(
    "adrelay_redis_pool_connections", "Connections to Redis, in use and idle"
)

# The relay counts small tables; of large ones it tells Postgres's own estimate.
INBOX_ROWS = Gauge("adrelay_inbox_rows", "Rows of the inbox; of a large table an estimate")
_OPERATIONS_ROWS = Gauge(
    "adrelay_operations_rows", "Operations by state; of a large table an estimate", ["state"]
)
OPERATIONS_ROWS = {
    state: _OPERATIONS_ROWS.labels(state) for state in ("pending", "done", "refused", "dead")
}
AUDIT_ROWS = Gauge("adrelay_audit_rows", "Audit entries; of a large table an estimate")
EXPIRY_TIMESTAMP = Gauge(
    "adrelay_expiry_timestamp_seconds",
    "When a certificate, an API key or the first token of a platform's accounts expires, since"
    " 1970; 0 where none does",
    ["kind", "name"],
)


def export_build_info() -> None:
    """Say which code the process runs: the release, the commit of a checkout, and Python."""
    BUILD_INFO.labels(find_release(), find_commit(), platform.python_version()).set(1)
