"""Rules and alerts for Prometheus, dashboards for Grafana."""
