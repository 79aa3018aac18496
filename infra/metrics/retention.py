"""Metrics of the deletion of expired rows; ``table`` is the name of an expiry rule."""

from prometheus_client import Counter, Gauge

RETENTION_DELETED = Counter(
    "adrelay_retention_deleted_total", "Rows that were deleted after their time", ["table"]
)
RETENTION_OLDEST = Gauge(
    "adrelay_retention_oldest_seconds", "Age of the oldest row that will expire", ["table"]
)
RETENTION_SUCCESS = Gauge(
    "adrelay_retention_success_timestamp_seconds",
    "When all that had expired was last deleted, since 1970",
)
