"""CloudEvents sources of the events that Adrelay publishes itself.

All lie in the reserved namespace (``schemas.source_namespace``): a publisher outside may use
none of them. A worker's events carry its own source; what the ingress makes of a webhook
carries ``urn:adrelay:webhook:<webhook source>``.
"""

DEFAULT_SOURCE = "urn:adrelay"
API_SOURCE = "urn:adrelay:api"  # the ingress, for requests over HTTP
AUTH_SOURCE = "urn:adrelay:auth"
CAMPAIGNS_SOURCE = "urn:adrelay:campaigns"
METRICS_SOURCE = "urn:adrelay:metrics"
SYNC_SOURCE = "urn:adrelay:sync"
SEED_SOURCE = "urn:adrelay:seed"  # ``infra.commands.seed``
WEBHOOK_SOURCE_PREFIX = "urn:adrelay:webhook:"


def webhook_source(name: str) -> str:
    """Return the source of the events of one webhook source, such as ``claude``."""
    return f"{WEBHOOK_SOURCE_PREFIX}{name}"
