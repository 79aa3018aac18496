"""What ``capacity`` asks of Adrelay: routes, each with requests of its own, and mixes of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice, repeat
from uuid import uuid4

import aiohttp
import orjson

from events.envelope import encode
from infra.security.access_tokens import TokenSigner
from infra.security.hmac_signature import sign_body
from tests.bench import ingress
from tests.bench.events import report, webhook
from tests.bench.paced_wrk import Request, compact, interleave
from tests.bench.stage import Stage

BATCH = 100
JSON = {"Content-Type": "application/json"}
CAMPAIGN = {
    "name": "Capacity",
    "budget": 100,
    "platform": "claude",
    "targeting": {"interests": ["tea"], "age_range": [25, 45]},
}
WEBHOOK, EVENT, EVENTS = "webhook", "event", f"events in batches of {BATCH}"
WRITE, READ, LOGIN = "campaign created", "campaigns read", "login"
# Units a second that are prepared of each: more than two cores can accept.
FLOOD_RATES: Mapping[str, float] = {
    WEBHOOK: 8_000,
    EVENT: 8_000,
    EVENTS: 25_000,
    WRITE: 2_000,
    READ: 4_000,
    LOGIN: 100,
}
MIXES: Mapping[str, Mapping[str, float]] = {
    "webhooks": {WEBHOOK: 1.0},
    "events in batches": {EVENTS: 1.0},
    "45% webhooks, 50% events in batches, 5% campaigns": {WEBHOOK: 0.45, EVENTS: 0.5, WRITE: 0.05},
}


@dataclass
class Client:
    """An account with its API key; makes requests, no two of them with the same event."""

    secret: str
    key: str
    token: str
    login: str
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def make(self, route: str, units: float) -> list[Request]:
        """Make the requests of a route for so many units."""
        number = max(1, round(units / BATCH) if route == EVENTS else round(units))
        return list(islice(self._routes()[route](), number))

    def mix(self, shares: Mapping[str, float], units: float) -> list[Request]:
        """Make requests of several routes, ``shares`` of the units each."""
        parts = [(share, self.make(route, units * share)) for route, share in shares.items()]
        return interleave(parts)

    def _routes(self) -> Mapping[str, Callable[[], Iterator[Request]]]:
        token = f"Authorization=Bearer|{self.token}"
        campaigns = "/api/v1/campaigns"
        return {
            WEBHOOK: lambda: map(self._webhook, self.numbers),
            EVENT: lambda: (self._events(1) for _ in repeat(None)),
            EVENTS: lambda: (self._events(BATCH) for _ in repeat(None)),
            WRITE: lambda: repeat(Request(campaigns, token, compact(CAMPAIGN))),
            READ: lambda: repeat(Request(f"{campaigns}?limit=20", token, "")),
            LOGIN: lambda: repeat(Request("/api/v1/auth/login", "", self.login)),
        }

    def _webhook(self, number: int) -> Request:
        body = webhook(number)
        signature = f"X-Claude-Signature={sign_body(self.secret, body)}"
        return Request("/webhooks/claude", signature, body.decode())

    def _events(self, number: int) -> Request:
        events = [encode(report(next(self.numbers))) for _ in range(number)]
        kind, body = "cloudevents", events[0]
        if number > 1:
            kind, body = "cloudevents-batch", b"[" + b",".join(events) + b"]"
        headers = f"Authorization=Bearer|{self.key} Content-Type=application/{kind}+json"
        return Request("/api/v1/events", headers, body.decode(), number)


async def open_client(stage: Stage, port: int) -> Client:
    """Register an account, and make its key and token; raises ``ClientError``."""
    login = {"email": f"{uuid4().hex}@example.com", "password": uuid4().hex}
    key, account = await ingress._api_key(stage)
    token = TokenSigner(stage.settings).sign(account, "bench")
    url = f"http://127.0.0.1:{port}/api/v1/auth/register"
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        await (await http.post(url, data=orjson.dumps(login), headers=JSON)).read()
    return Client(ingress.secret_of(stage), key, token, compact(login))
