"""The API of one sandbox platform: answers requests in its dialect, with the injected faults.

The order of a request: latency, outage, token, rate limit, error, idempotency key, the action
itself, and after it an aborted connection or a malformed body. Between the check of the idempotency
key and the action nothing is awaited, so concurrent requests with one key act once.
"""

import asyncio
import hmac
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web
from pydantic import SecretStr

from infra.sandbox import token_endpoint
from infra.sandbox.actions import ApiError, perform_action
from infra.sandbox.campaigns import SandboxCampaign
from infra.sandbox.dialect import CampaignAction, SandboxDialect
from infra.sandbox.fault_injection import MALFORMED, Faults
from infra.sandbox.state import PlatformState, SandboxResponse

STARTED_AT: web.RequestKey[datetime] = web.RequestKey("began", datetime)
CLIENT_CREDENTIALS = "client_credentials"


@dataclass(slots=True)
class PlatformApi:
    """The API of a platform: dialect, state and faults; ``client`` is its only OAuth client."""

    name: str
    dialect: SandboxDialect
    client: tuple[str, SecretStr]
    state: PlatformState
    faults: Faults = field(default_factory=Faults)
    chance: random.Random = field(default_factory=random.Random)
    window: tuple[float, int] = (0.0, 0)

    def routes(self) -> list[web.RouteDef]:
        """List the routes below the platform's prefix."""
        paths = [
            (method, path.replace("{id}", "{id:[A-Za-z0-9_-]+}"), action)
            for method, path, action in self.dialect.ROUTES
        ]
        return [
            web.post(f"/{self.name}{self.dialect.TOKEN_PATH}", self.on_token),
            web.post(f"/{self.name}{self.dialect.REVOKE_PATH}", self.on_revoke),
            *(web.route(method, f"/{self.name}{path}", self._on(a)) for method, path, a in paths),
        ]

    async def on_token(self, request: web.Request) -> web.StreamResponse:
        """Answer a token request of any grant type (RFC 6749, section 4)."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        await asyncio.sleep(self.faults.latency_ms / 1000)
        if self.faults.outage:
            return self._reply(self._stopped(503, "UNAVAILABLE", "down for a while"))
        if form.get("grant_type") not in (
            CLIENT_CREDENTIALS,
            *token_endpoint.SUPPORTED_GRANT_TYPES,
        ):
            return self._reply(SandboxResponse(400, {"error": "unsupported_grant_type"}))
        if not self.knows(request, form):
            return self._reply(SandboxResponse(401, {"error": "invalid_client"}))
        if form["grant_type"] in token_endpoint.SUPPORTED_GRANT_TYPES:
            return self._reply(token_endpoint.issue_tokens(self.state.consents, self.faults, form))
        seconds = self.faults.token_seconds
        kind = {"token_type": "Bearer", "expires_in": seconds}
        return self._reply(
            SandboxResponse(200, {"access_token": self.state.issue_token(seconds), **kind})
        )

    async def on_revoke(self, request: web.Request) -> web.StreamResponse:
        """Revoke a consent by one of its tokens (RFC 7009)."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        await asyncio.sleep(self.faults.latency_ms / 1000)
        if self.faults.outage:
            return self._reply(self._stopped(503, "UNAVAILABLE", "down for a while"))
        if not self.knows(request, form):
            return self._reply(SandboxResponse(401, {"error": "invalid_client"}))
        self.state.consents.revoke(form.get("token", ""))
        return self._reply(SandboxResponse(200, {}))

    def knows(self, request: web.Request, form: Mapping[str, str]) -> bool:
        """Check the client credentials of a request."""
        client_id, secret = self.dialect.credentials(request.headers, form)
        good = hmac.compare_digest(
            secret.encode(errors="surrogatepass"), self.client[1].get_secret_value().encode()
        )
        return not self.faults.refuse_credentials and client_id == self.client[0] and good

    def _on(self, action: CampaignAction) -> Any:  # noqa: ANN401 - aiohttp's handler type
        async def handle(request: web.Request) -> web.StreamResponse:
            request[STARTED_AT] = datetime.now(UTC)
            body = await request.read()
            await asyncio.sleep(self.faults.latency_ms / 1000)
            retry_after = self.faults.retry_after
            reply = self._refuse(request)
            if reply is not None:
                self._note(action, request, reply, "stopped")
                return self._reply(reply, retry_after)
            return self._spoil(request, self._reply(self._answer(action, request, body)))

        return handle

    def _refuse(self, request: web.Request) -> SandboxResponse | None:
        """Return the error response of a request that has no effect, else None."""
        if self.faults.outage:
            return self._stopped(503, "UNAVAILABLE", "down for a while")
        if not self.state.accepts_token(_token_of(request)):
            return self._fault(401, "UNAUTHENTICATED", "no token that is valid")
        if self.faults.come_again is not None:
            return self._stopped(self.faults.come_again, "LATER", "come again")
        if self._is_over_limit():
            return self._stopped(429, "RESOURCE_EXHAUSTED", "too many calls")
        if self.chance.random() < self.faults.error_rate:
            return self._stopped(500, "INTERNAL", "something broke")
        return None

    def _answer(self, action: CampaignAction, request: web.Request, body: bytes) -> SandboxResponse:
        """Perform the action, or repeat the response to the same idempotency key."""
        key = None if action == "status" else self.dialect.key_of(request.headers, request.query)
        scope = f"{request.method} {request.path} {key}"
        replayed = self.state.answer_to(scope) if key else None
        if replayed is not None:
            self._note(action, request, replayed, "replayed")
            return replayed
        named = request.match_info.get("id")
        try:
            campaign = perform_action(
                action, self.dialect, self.state, self.faults, named, key, body
            )
        except ApiError as error:
            reply = self._fault(error.status, error.code, error.message)
            self._note(action, request, reply, "refused")
            return reply
        reply = SandboxResponse(201 if action == "create" else 200, self.dialect.campaign(campaign))
        if key and action != "delete":
            self.state.remember(scope, campaign.id, reply)
        self._note(action, request, reply, "done", campaign)
        return reply

    def _spoil(self, request: web.Request, response: web.Response) -> web.Response:
        """Drop the response or malform it, after the action."""
        if self.chance.random() < self.faults.lost_rate and request.transport is not None:
            self._count_hit()
            request.transport.abort()
        elif self.chance.random() < self.faults.malformed:
            self._count_hit()
            nonsense = self.chance.choice(MALFORMED)
            return web.Response(body=nonsense, content_type="application/json")
        return response

    def _is_over_limit(self) -> bool:
        limit = self.faults.rate_limit
        if limit is None:
            return False
        began, calls = self.window
        now = time.monotonic()
        self.window = (began, calls + 1) if now - began < 1 else (now, 1)
        return self.window[1] > limit

    def _stopped(self, status: int, code: str, message: str) -> SandboxResponse:
        self._count_hit()
        return self._fault(status, code, message)

    def _count_hit(self) -> None:
        times = self.faults.times
        if times is not None:
            rest = self.faults.model_copy(update={"times": times - 1})
            self.faults = rest if times > 1 else Faults()

    def _fault(self, status: int, code: str, message: str) -> SandboxResponse:
        return SandboxResponse(status, self.dialect.fault(status, code, message))

    def _reply(self, reply: SandboxResponse, retry_after: int = 1) -> web.Response:
        response = web.Response(
            body=orjson.dumps(reply.value), status=reply.status, content_type="application/json"
        )
        if reply.status in (HTTPStatus.TOO_MANY_REQUESTS, self.faults.come_again):
            response.headers["Retry-After"] = str(retry_after)
        return response

    def _note(
        self,
        action: CampaignAction,
        request: web.Request,
        reply: SandboxResponse,
        outcome: str,
        campaign: SandboxCampaign | None = None,
    ) -> None:
        self.state.note(
            began=request[STARTED_AT],
            action=action,
            status=reply.status,
            outcome=outcome,
            campaign_id=campaign.id if campaign else request.match_info.get("id"),
            reference=campaign and campaign.desired.reference,
            version=campaign and campaign.desired.version,
            key=self.dialect.key_of(request.headers, request.query),
            account=self.state.consents.owner_of(_token_of(request)),
        )


def _token_of(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else ""
