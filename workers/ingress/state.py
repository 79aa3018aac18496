"""What the ingress process holds open and shares between its requests."""

from collections.abc import Mapping
from dataclasses import dataclass

from infra.amqp.rpc import RpcClient
from infra.resources import Resources
from infra.security.access_tokens import TokenVerifier
from workers.ingress.backends.authentication import Authenticator
from workers.ingress.backends.broken_paths import BrokenPaths
from workers.ingress.backends.command_order import CommandOrder
from workers.ingress.backends.database import Database
from workers.ingress.backends.durable_publisher import DurablePublisher
from workers.ingress.backends.operation_waiter import OperationWaiter
from workers.ingress.backends.webhook_deliveries import WebhookDeliveries
from workers.ingress.http.rate_limits import RateLimiter


@dataclass(frozen=True, slots=True)
class AppState:
    """Built once at start-up."""

    resources: Resources
    database: Database
    durable_publisher: DurablePublisher
    command_order: CommandOrder
    broken_paths: BrokenPaths
    rpc_client: RpcClient
    verifier: TokenVerifier
    authenticator: Authenticator
    operation_waiter: OperationWaiter
    rate_limiter: RateLimiter
    webhook_deliveries: WebhookDeliveries
    webhook_secrets: Mapping[str, tuple[str, ...]]
    operation_key: bytes
    openapi: bytes
    asyncapi: bytes
