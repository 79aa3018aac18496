"""Rows about the processes and the servers that they use."""

from grafana_foundation_sdk.models import units

from infra.dashboards.panels import graph, listing, quantiles

PROCESSES = (
    graph(
        "CPU",
        "Cores that each process uses.",
        units.Short,
        ("rate(process_cpu_seconds_total[$__rate_interval])", "{{job}}"),
    ),
    graph(
        "CPU per event",
        "Seconds of CPU per delivery; of the ingress, per accepted message.",
        units.Seconds,
        ("job:adrelay_cpu_seconds_per_event:ratio_rate5m", "{{job}}"),
    ),
    graph(
        "Memory",
        "Resident memory of each process.",
        units.BytesIEC,
        ("process_resident_memory_bytes", "{{job}}"),
    ),
    graph(
        "Delay of the event loop",
        "How late the event loop woke a sleeper, at the 99th percentile.",
        units.Seconds,
        quantiles("adrelay_loop_lag_seconds", "job")[1],
    ),
    graph(
        "Deliveries in hand",
        "Taken by each process from its queues and not settled yet.",
        units.Short,
        ("sum by (job) (adrelay_messages_in_hand)", "{{job}}"),
    ),
    graph(
        "Open files",
        "File descriptors of each process.",
        units.Short,
        ("process_open_fds", "{{job}}"),
    ),
    listing(
        "Versions",
        "The release that each process runs.",
        units.Short,
        ("max by (job, version, commit, python) (adrelay_build_info)", ""),
        hidden=("Value",),
    ),
)

SERVERS = (
    graph(
        "Database connections",
        "Connections of each process' pool.",
        units.Short,
        ("sum by (job, state) (adrelay_db_pool_connections)", "{{job}} {{state}}"),
    ),
    graph(
        "Waiting for a connection",
        "Time until the pool gives a database connection, at the 95th percentile.",
        units.Seconds,
        (
            (
                "histogram_quantile(0.95, sum by (job, le)"
                " (rate(adrelay_db_pool_wait_seconds_bucket[$__rate_interval])))"
            ),
            "{{job}}",
        ),
    ),
    graph(
        "Redis connections",
        "Connections of each process' pool.",
        units.Short,
        ("sum by (job, state) (adrelay_redis_pool_connections)", "{{job}} {{state}}"),
    ),
    graph(
        "Alarms of the broker",
        "1 while the broker takes no publishes: memory or disk is short.",
        units.Short,
        ("max(rabbitmq_alarms_memory_used_watermark)", "memory"),
        ("max(rabbitmq_alarms_free_disk_space_watermark)", "disk"),
    ),
    graph(
        "Event log",
        "Events in the stream adrelay.history.",
        units.Short,
        ('max(rabbitmq_detailed_queue_messages_ready{queue="adrelay.history"})', "events"),
    ),
    graph(
        "Reach of the event log",
        "How far the log reaches back, and how old the newest backup may be; 0: not limited.",
        units.Seconds,
        (
            (
                "(time() - max(adrelay_log_start_timestamp_seconds))"
                " * (max(adrelay_log_start_timestamp_seconds) > bool 0)"
            ),
            "event log",
        ),
        ("max(adrelay_backup_max_age_seconds)", "BACKUP_MAX_AGE"),
    ),
    graph(
        "Paths",
        "Paths of which the broker lacks a part, and those whose log is to be sent again.",
        units.Short,
        ("max by (path) (adrelay_path_broken)", "{{path}}"),
        ("max(adrelay_paths_to_recover)", "to recover"),
    ),
    graph(
        "Age of the check of paths",
        "Seconds since the relay checked the paths, and since all were complete.",
        units.Seconds,
        ("time() - max(adrelay_routing_checked_timestamp_seconds)", "checked"),
        ("time() - max(adrelay_routing_whole_timestamp_seconds)", "complete"),
    ),
    graph(
        "Rows",
        "Estimated rows of the tables that grow with traffic.",
        units.Short,
        ("max(adrelay_inbox_rows)", "inbox"),
        ("sum(max by (state) (adrelay_operations_rows))", "operations"),
        ("max(adrelay_audit_rows)", "audit"),
    ),
    graph(
        "Event index",
        "How far the index of events is behind the event log.",
        units.Seconds,
        ("max(adrelay_event_index_lag_seconds)", "behind"),
    ),
    graph(
        "Indexed events",
        "Events of the log that the relay has indexed.",
        units.EventsPerSecond,
        ("sum(rate(adrelay_events_indexed_total[$__rate_interval]))", "indexed"),
    ),
    graph(
        "Deleted rows",
        "Rows that the relay has deleted, because they were kept for as long as the settings say.",
        units.RowsPerSecond,
        ("sum by (table) (rate(adrelay_retention_deleted_total[$__rate_interval]))", "{{table}}"),
    ),
    graph(
        "Oldest row that expires",
        "Its age; hours more than the days of the setting mean that the deletion fails.",
        units.Seconds,
        ("max by (table) (adrelay_retention_oldest_seconds)", "{{table}}"),
    ),
    graph(
        "Since the last deletion",
        "Seconds since all that had expired was deleted.",
        units.Seconds,
        ("time() - max(adrelay_retention_success_timestamp_seconds)", "deleted"),
    ),
    graph(
        "Expires in",
        "Time until API keys and certificates expire.",
        units.DurationSeconds,
        (
            (
                'min by (kind, name) (adrelay_expiry_timestamp_seconds{kind!="platform_account"})'
                " - time()"
            ),
            "{{kind}} {{name}}",
        ),
    ),
)
