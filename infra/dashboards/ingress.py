"""The ingress: requests, webhooks, events, keys and limits."""

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from infra.dashboards.layout import Rows, build_dashboard
from infra.dashboards.panels import graph, quantiles

REQUESTS = (
    graph(
        "Requests by status",
        "Answers per second.",
        units.RequestsPerSecond,
        ("sum by (status) (rate(adrelay_http_requests_total[$__rate_interval]))", "{{status}}"),
    ),
    graph(
        "Requests by route",
        "Answers per second.",
        units.RequestsPerSecond,
        (
            "sum by (method, route) (rate(adrelay_http_requests_total[$__rate_interval]))",
            "{{method}} {{route}}",
        ),
    ),
    graph(
        "Share of failed requests",
        "Answers of 5xx, of all answers of the route in five minutes.",
        units.PercentUnit,
        ("route:adrelay_http_errors:ratio_rate5m", "{{method}} {{route}}"),
    ),
    graph(
        "Time of a request",
        "From a request's headers to its answer.",
        units.Seconds,
        *quantiles("adrelay_http_request_seconds", "method route"),
    ),
    graph(
        "Requests in progress",
        "Requests that are not answered yet.",
        units.Short,
        ("sum(adrelay_http_requests_in_flight)", "in progress"),
    ),
    graph(
        "Accepted",
        "Messages accepted, by what made them durable.",
        units.OpsPerSecond,
        ("sum by (how) (rate(adrelay_accepted_total[$__rate_interval]))", "{{how}}"),
    ),
)

WEBHOOKS = (
    graph(
        "Webhooks",
        "Webhooks by source and outcome.",
        units.OpsPerSecond,
        (
            "sum by (source, outcome) (rate(adrelay_webhooks_total[$__rate_interval]))",
            "{{source}} {{outcome}}",
        ),
    ),
    graph(
        "Failed signatures",
        "Share of a source's webhooks in 15 minutes that no secret verifies.",
        units.PercentUnit,
        ("source:adrelay_webhook_signature_failures:ratio_rate15m", "{{source}}"),
    ),
    graph(
        "Refused signatures",
        "By the failed check: a header is missing or malformed, no secret fits, the time is off.",
        units.OpsPerSecond,
        (
            "sum by (source, check) (rate(adrelay_webhook_bad_signatures_total[$__rate_interval]))",
            "{{source}} {{check}}",
        ),
    ),
    graph(
        "Secret slots",
        "Genuine webhooks by the secret that verified them: an old one may go when it has none.",
        units.OpsPerSecond,
        (
            "sum by (source, slot) (rate(adrelay_webhook_secret_slot_total[$__rate_interval]))",
            "{{source}} slot {{slot}}",
        ),
    ),
    graph(
        "Clock of the senders",
        "How far the time in a signature is from the time here.",
        units.Seconds,
        *quantiles("adrelay_webhook_skew_seconds", "source"),
    ),
    graph(
        "Since the last accepted webhook",
        "Of the ingress that accepted last; since 1970 where none was accepted since its start.",
        units.Seconds,
        (
            "time() - max by (source) (adrelay_webhook_last_accepted_timestamp_seconds)",
            "{{source}}",
        ),
    ),
    graph(
        "Accepted in an hour",
        "Webhooks of each source.",
        units.Short,
        ("source:adrelay_webhooks_accepted:increase1h", "{{source}}"),
    ),
)

CALLERS = (
    graph(
        "Events by verdict",
        "Items of POST /api/v1/events.",
        units.EventsPerSecond,
        ("sum by (verdict) (rate(adrelay_ingested_total[$__rate_interval]))", "{{verdict}}"),
    ),
    graph(
        "API keys",
        "Uses by outcome.",
        units.OpsPerSecond,
        ("sum by (outcome) (rate(adrelay_api_key_uses_total[$__rate_interval]))", "{{outcome}}"),
    ),
    graph(
        "Logins and other requests of accounts",
        "Requests to the auth worker by outcome.",
        units.OpsPerSecond,
        (
            "sum by (action, outcome) (rate(adrelay_auth_requests_total[$__rate_interval]))",
            "{{action}} {{outcome}}",
        ),
    ),
    graph(
        "Waiting to hash a password",
        "Waiting for a core.",
        units.Seconds,
        *quantiles("adrelay_password_wait_seconds", ""),
    ),
    graph(
        "Verifying an access token",
        "Of tokens that were not verified before.",
        units.Seconds,
        *quantiles("adrelay_token_verification_seconds", ""),
    ),
    graph(
        "Rate limits",
        "Decisions by policy; webhooks and events count refusals alone.",
        units.OpsPerSecond,
        (
            "sum by (policy, outcome) (rate(adrelay_rate_limits_total[$__rate_interval]))",
            "{{policy}} {{outcome}}",
        ),
    ),
    graph(
        "Rate limits without Redis",
        "1 while Redis is gone and each process counts for itself.",
        units.Short,
        ("max by (job) (adrelay_rate_limits_local)", "{{job}}"),
    ),
    graph(
        "Campaign cache",
        "Uses by outcome.",
        units.OpsPerSecond,
        ("sum by (outcome) (rate(adrelay_cache_total[$__rate_interval]))", "{{outcome}}"),
    ),
)

ROWS: Rows = {"Requests": REQUESTS, "Webhooks": WEBHOOKS, "Callers": CALLERS}


def build() -> Dashboard:
    """Build the dashboard of the ingress."""
    return build_dashboard("ingress", "Ingress", "What comes in over HTTP.", ROWS)
