"""What the ingress process holds open and shares between its requests."""

from collections.abc import Mapping
from dataclasses import dataclass

from infra.resources import Resources
from infra.security.access_tokens import TokenVerifier
from infra.web.auth_worker import AuthWorkerClient
from infra.web.database import Database
from infra.web.rate_limits import RateLimiter
from workers.ingress.backends.authentication import Authenticator
from workers.ingress.backends.broken_paths import BrokenPaths
from workers.ingress.backends.command_order import CommandOrder
from workers.ingress.backends.durable_publisher import DurablePublisher
from workers.ingress.backends.operation_waiter import OperationWaiter
from workers.ingress.backends.webhook_deliveries import WebhookDeliveries
from workers.ingress.backends.webhook_recorder import WebhookRecorder


@dataclass(frozen=True, slots=True)
class AppState:
    """Built once at start-up."""

    resources: Resources
    database: Database
    durable_publisher: DurablePublisher
    command_order: CommandOrder
    broken_paths: BrokenPaths
    auth_worker: AuthWorkerClient
    verifier: TokenVerifier
    authenticator: Authenticator
    operation_waiter: OperationWaiter
    rate_limiter: RateLimiter
    webhook_deliveries: WebhookDeliveries
    webhook_recorder: WebhookRecorder
    webhook_secrets: Mapping[str, tuple[str, ...]]
    operation_key: bytes
    openapi: bytes
    asyncapi: bytes
