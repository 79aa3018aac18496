"""What the ingress holds open, and one request on its way through it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web
from multidict import CIMultiDictProxy

from events.envelope import new_id
from infra.amqp.rpc import RpcClient
from infra.errors import Outage
from infra.resources import Resources
from infra.security.access_tokens import TokenVerifier
from schemas.users import ClientInfo
from workers.ingress.backends.authentication import Authenticator, Principal
from workers.ingress.backends.broken_paths import BrokenPaths
from workers.ingress.backends.command_order import CommandOrder
from workers.ingress.backends.database import Database, Query
from workers.ingress.backends.durable_publisher import DurablePublisher
from workers.ingress.backends.operation_waiter import OperationWaiter
from workers.ingress.backends.webhook_deliveries import WebhookDeliveries
from workers.ingress.http.client_address import get_client
from workers.ingress.http.errors import unauthenticated, unavailable
from workers.ingress.http.rate_limits import RateLimiter, RateLimitScope

T = TypeVar("T")

REQUEST_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
# W3C trace context, version 00.
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class AppState:
    """Built once, when the process starts."""

    resources: Resources
    database: Database
    durable_publisher: DurablePublisher
    command_order: CommandOrder
    broken_paths: BrokenPaths
    requester: RpcClient
    verifier: TokenVerifier
    authenticator: Authenticator
    operation_waiter: OperationWaiter
    rate_limiter: RateLimiter
    webhook_deliveries: WebhookDeliveries
    webhook_secrets: Mapping[str, tuple[str, ...]]
    operation_key: bytes
    openapi: bytes
    asyncapi: bytes


@dataclass(frozen=True, slots=True)
class RequestIds:
    """By what names a request is known in answers, events, logs and traces."""

    request_id: str
    correlation_id: str
    traceparent: str | None

    @property
    def trace_attributes(self) -> dict[str, str]:
        """The attributes that an event of this request carries."""
        if self.traceparent is None:
            return {"correlationid": self.correlation_id}
        return {"correlationid": self.correlation_id, "traceparent": self.traceparent}


@dataclass(frozen=True, slots=True)
class RequestContext:
    """A request that may pass, and who makes it (nobody on routes that are open to all)."""

    request: web.Request
    state: AppState
    ids: RequestIds
    optional_principal: Principal | None
    rate_limit: RateLimitScope

    @property
    def principal(self) -> Principal:
        """Who calls; raises a ``Refusal`` (401) on a route that is open to all."""
        if self.optional_principal is None:
            raise unauthenticated()
        return self.optional_principal

    @property
    def client(self) -> ClientInfo:
        """Who is at the other end, and who has logged in there."""
        settings = self.state.resources.settings
        client = get_client(self.request, settings.trusted_proxies, settings.forwarded_header)
        caller = self.optional_principal
        if caller is None:
            return client
        known = {"account": caller.account, "session_id": caller.session_id}
        return client.model_copy(update=known)

    async def read(self, query: Query[[], T], what: str) -> T:
        """Run a query that changes nothing; raises a ``Refusal`` (503) without a database."""
        try:
            return await self.state.database.read(query)
        except Outage:
            raise unavailable(f"{what} cannot be read right now.") from None

    @property
    def request_id(self) -> str:
        """The id in the answer's ``meta``."""
        return self.ids.request_id


def parse_request_ids(headers: CIMultiDictProxy[str]) -> RequestIds:
    """Take a request's ids from its headers where they are valid and sent once, else make them."""
    request_id = _only(headers, "X-Request-ID")
    if request_id is None or not REQUEST_ID.fullmatch(request_id):
        request_id = new_id()
    correlation_id = _only(headers, "X-Correlation-ID")
    if correlation_id is None or not REQUEST_ID.fullmatch(correlation_id):
        correlation_id = request_id
    traceparent = _only(headers, "traceparent")
    if traceparent is not None and not TRACEPARENT.fullmatch(traceparent):
        traceparent = None
    return RequestIds(request_id, correlation_id, traceparent)


def _only(headers: CIMultiDictProxy[str], name: str) -> str | None:
    values = headers.getall(name, ())
    return values[0] if len(values) == 1 else None
